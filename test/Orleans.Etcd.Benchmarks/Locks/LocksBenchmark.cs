namespace Orleans.Etcd.Benchmarks;

/// <summary>Locks of a silo and of a client, against Go's mutex on the same etcd and against DistributedLock's.</summary>
internal sealed class LocksBenchmark : IBenchmark
{
    public string Name => "locks";

    public string Summary => "mutexes free, contended and by the thousand: against Go's on etcd, and DistributedLock's on Redis and PostgreSQL";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        using var bare = new BareEtcd(server);
        await using var peers = await LockPeers.StartAsync(bare, contest.Report, cancellationToken);
        await using var host = await LockHost.StartAsync(server.Endpoint, cancellationToken);

        var uncontended = new Uncontended(contest, bare, host, peers);
        await uncontended.RunAsync(cancellationToken);
        await new LockRequests(contest, bare, host).RunAsync(cancellationToken);
        // Only now: what else it asks of etcd would be counted too.
        await using (var cluster = await LockHost.StartAsync(server.Endpoint, cancellationToken, silos: 2))
            await new Contended(contest, bare, host, cluster, peers).RunAsync(cancellationToken);
        await uncontended.RunAfterUseAsync(cancellationToken);
        await new ManyLocks(contest, bare, host, peers).RunAsync(cancellationToken);
    }
}
