using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What reading costs by a grain call; what it costs by the view of the process is among the allocations.</summary>
internal sealed class ConfigReads(Contest contest, ConfigHosts hosts)
{
    private const string Name = "reads";
    private const int Operations = 10_000;
    private const double Limit = 1.1;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var config = hosts.Client.GetGrain<IConfigGrain>(Name);
        for (var i = 0; i < 100; i++)
            await config.Set($"key{i}", $"{i}");
        var (serving, _) = await hosts.SilosAsync(Name);
        // From within the silo that both are on: a client may reach one of them through another silo.
        var grains = serving.GetRequiredService<IGrainFactory>();
        config = grains.GetGrain<IConfigGrain>(Name);
        var empty = await ConfigHosts.EmptyOnAsync(serving.GetRequiredService<ILocalSiloDetails>().SiloAddress, grains);
        var figures = await contest.CompareAsync("get", Operations, new Contender("Get", () => config.Get("key50")), [new Contender("empty call", empty)], cancellationToken);
        contest.Report.RatioGoal("get: Get against an empty call", figures[0], Limit);
    }
}
