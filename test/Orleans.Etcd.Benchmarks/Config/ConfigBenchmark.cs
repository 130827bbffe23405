namespace Orleans.Etcd.Benchmarks;

/// <summary>Configuration: how soon a change is told, to how many, and what it costs to read.</summary>
internal sealed class ConfigBenchmark : IBenchmark
{
    public string Name => "config";

    public string Summary => "a change until it is told: against a bare watch, and ObserverManager; reads against an empty call";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        using var bare = new BareEtcd(server);
        await using var hosts = await ConfigHosts.StartAsync(server.Endpoint, cancellationToken);
        await new PutToObserver(contest, bare, hosts).RunAsync(cancellationToken);
        await new ConfigReads(contest, hosts).RunAsync(cancellationToken);
        await new FanOut(contest, hosts).RunAsync(contest.Settings.Quick ? [100] : [100, 1000, 10_000], cancellationToken);
    }
}
