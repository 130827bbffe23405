namespace Orleans.Etcd.Benchmarks;

/// <summary>The membership table and the gateway list against the same requests sent bare, and against Orleans' other providers.</summary>
internal sealed class MembershipBenchmark : IBenchmark
{
    public string Name => "membership";

    public string Summary => "table and gateways: against bare requests to etcd, and Orleans' providers for Redis and PostgreSQL";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        using var bare = new BareEtcd(server);
        await using var etcd = BenchmarkEtcd.Connect(server);
        await using var stores = await PeerStores.StartAsync(contest.Report, cancellationToken);

        await new MembershipWrites(contest, bare, etcd, stores).RunAsync(cancellationToken);
        await new MembershipReads(contest, bare, etcd, stores).RunAsync(cancellationToken);
        await new GatewayReads(contest, bare, etcd, stores).RunAsync(cancellationToken);
        await new MembershipRequests(contest, bare, etcd).RunAsync(cancellationToken);
    }
}
