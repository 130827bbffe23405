using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>The membership table and the gateway list against the same requests sent bare, and against Redis.</summary>
internal sealed class MembershipBenchmark : IBenchmark
{
    public string Name => "membership";

    public string Summary => "table and gateways: against bare requests to etcd, and against Orleans' Redis provider";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        var data = Repository.Data();
        await using var server = await EtcdServer.StartAsync(new EtcdServerOptions { BinaryPath = Repository.Etcd(), DataDirectory = data }, cancellationToken);
        contest.Report.Note($"etcd {server.Version}, one member, data on disk; .NET {Environment.Version}, {Environment.ProcessorCount} cores; rounds: {contest.Settings.Rounds}");
        using var bare = new BareEtcd(server);
        await using var etcd = new EtcdConnection(new EtcdOptions { Endpoints = { server.Endpoint.ToString() } });

        await new MembershipWrites(contest, bare, etcd).RunAsync(cancellationToken);
        await new MembershipReads(contest, bare, etcd, data).RunAsync(cancellationToken);
        await new GatewayReads(contest, bare, etcd).RunAsync(cancellationToken);
        await new MembershipRequests(contest, bare, etcd).RunAsync(cancellationToken);
    }
}
