using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Changes of the table reach every silo through its watch, with gossip off.</summary>
public sealed class PushTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    private static readonly TimeSpan AtOnce = TimeSpan.FromMilliseconds(200);

    [Fact]
    public async Task JoinAndLeave_AreSeenByEveryOtherSiloAtOnce_AndNothingIsReadMeanwhile()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync(("Gossip", "false"));
        await using var table = await cluster.WatchTableAsync(etcd.Server.Connect());
        await cluster.StartClientAsync();

        var joining = await cluster.StartSiloAsync("four", defaultProbes: true, more: ("Gossip", "false"));
        foreach (var status in new[] { SiloStatus.Joining, SiloStatus.Active })
            await AllSeeAsync(silos, joining, status, table);
        await ClientIsToldAsync(cluster, joining, present: true, since: await table.OfAsync(joining.Endpoint, SiloStatus.Active));
        await cluster.SettledAsync([.. silos, joining]);

        var before = await RequestsAsync();
        await Task.Delay(TimeSpan.FromSeconds(10));
        // Four silos that read their tables once a minute and say every 30 s that they live.
        Assert.InRange(await RequestsAsync() - before, 0, 8);

        joining.Terminate();
        await joining.WaitForExitAsync(TimeSpan.FromSeconds(30));
        foreach (var status in new[] { SiloStatus.ShuttingDown, SiloStatus.Dead })
            await AllSeeAsync(silos, joining, status, table);
        await ClientIsToldAsync(cluster, joining, present: false, since: await table.OfAsync(joining.Endpoint, SiloStatus.ShuttingDown));
        // It gave its lease back: nobody missed it.
        Assert.All(silos, silo => Assert.DoesNotContain("has lost its liveness lease", silo.Output));
        Assert.DoesNotContain(await table.ReadAsync(), row => row.SuspectTimes?.Any(vote => !vote.Item1.Equals(row.SiloAddress)) == true);
    }

    [Fact]
    [Trait("Category", "Long")]
    public Task EtcdDownForLongAndBack_NobodyIsEvicted_AndPushWorksAgain() => NobodyIsEvictedAsync(members: 3, Soak.Or(20, 60));

    [Fact]
    [Trait("Category", "Long")]
    public Task EtcdDownAndBack_NobodyIsEvicted_AndPushWorksAgain() => NobodyIsEvictedAsync(members: 1, seconds: 0);

    private async Task NobodyIsEvictedAsync(int members, int seconds)
    {
        await using var server = await EtcdCluster.StartAsync(new() { BinaryPath = etcd.BinaryPath }, members);
        await using var cluster = new ClusterProcesses(server.Endpoints);
        var silos = await cluster.StartThreeAsync(("Gossip", "false"));
        await using var table = await cluster.WatchTableAsync(server.Connect());
        await server.KillAsync();
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        await server.RestartAsync();
        var back = DateTimeOffset.UtcNow;
        var written = await table.InsertAsync(number: 1);
        foreach (var silo in silos)
        {
            var seen = await silo.SeesAsync(written, SiloStatus.Joining, TimeSpan.FromSeconds(90)) - back;
            output.WriteLine($"{members} members down for {seconds} s: {silo.Name} was told {seen.TotalSeconds:F2} s after their return");
            Assert.InRange(seen, TimeSpan.Zero, TimeSpan.FromSeconds(5));
        }

        // As long as leases of before may take to end, and longer.
        await Task.Delay(TimeSpan.FromSeconds(3 * 4));
        await table.AllLiveAsync(silos);
    }

    private async Task AllSeeAsync(SiloProcess[] silos, SiloProcess other, SiloStatus status, TableCommits table)
    {
        var committed = await table.OfAsync(other.Endpoint, status);
        foreach (var silo in silos)
        {
            var seen = await silo.SeesAsync(other, status, TimeSpan.FromSeconds(90)) - committed;
            output.WriteLine($"{silo.Name} saw {other.Name} {status} {seen.TotalMilliseconds:F0} ms after the commit");
            Assert.True(seen <= AtOnce, $"{silo.Name} saw {other.Name} {status} {seen} after the commit");
        }
    }

    /// <summary>The client asks once a second by itself, of a list that is as new as any silo's.</summary>
    private async Task ClientIsToldAsync(ClusterProcesses cluster, SiloProcess silo, bool present, DateTimeOffset since)
    {
        DateTimeOffset? told = null;
        await Eventually.IsTrueAsync(() => (told = cluster.Gateways!.FirstSince(since, silo.GatewayPort, present)) is not null, $"the client's list has {silo.Name}: {present}");
        output.WriteLine($"the client was told {(told!.Value - since).TotalMilliseconds:F0} ms after the commit");
        Assert.True(told - since <= TimeSpan.FromSeconds(1) + AtOnce, $"{told - since}");
    }

    private async Task<long> RequestsAsync() =>
        await Metrics.ReadAsync(etcd.Server, "grpc_server_started_total", "\"Txn\"")
        + await Metrics.ReadAsync(etcd.Server, "grpc_server_started_total", "\"Range\"")
        + await Metrics.ReadAsync(etcd.Server, "grpc_server_started_total", "\"Put\"");
}
