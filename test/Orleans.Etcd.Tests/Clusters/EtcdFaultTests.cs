using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>etcd fails under a running cluster: no silo dies of it, no call fails, and a silo can join afterwards.</summary>
[Trait("Category", "Long")]
public sealed class EtcdFaultTests
{
    private static readonly string Binary = EtcdBinary.Find("3.5");

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Etcd_Restarted_CallsGoOn(bool gracefully)
    {
        await using var etcd = await EtcdServer.StartAsync(new() { BinaryPath = Binary });
        await using var cluster = await HostedCluster.StartAsync(etcd);
        await SurvivesAsync(cluster, async () =>
        {
            await (gracefully ? etcd.StopAsync() : etcd.KillAsync());
            await etcd.RestartAsync();
        });
    }

    [Fact]
    public async Task Etcd_DownForTwentySeconds_CallsGoOn()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { BinaryPath = Binary });
        await using var cluster = await HostedCluster.StartAsync(etcd);
        await SurvivesAsync(cluster, async () =>
        {
            await etcd.KillAsync();
            await Task.Delay(TimeSpan.FromSeconds(20));
            await etcd.RestartAsync();
        });
    }

    [Fact]
    public async Task Member_Killed_CallsGoOnAndASiloJoinsMeanwhile()
    {
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = Binary });
        await using var cluster = await HostedCluster.StartAsync(Options(etcd));
        await SurvivesAsync(cluster, async () =>
        {
            await (await etcd.GetLeaderAsync()).KillAsync();
            await JoinAsync(cluster);
        });
    }

    [Fact]
    public async Task Member_Frozen_CallsGoOnAndASiloJoinsMeanwhile()
    {
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = Binary });
        await using var cluster = await HostedCluster.StartAsync(Options(etcd));
        await SurvivesAsync(cluster, async () =>
        {
            var leader = await etcd.GetLeaderAsync();
            leader.Pause();
            await JoinAsync(cluster);
            leader.Resume();
        });
    }

    [Fact]
    public async Task Quorum_LostForTenSeconds_CallsGoOn()
    {
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = Binary });
        await using var cluster = await HostedCluster.StartAsync(Options(etcd));
        await SurvivesAsync(cluster, async () =>
        {
            await Task.WhenAll(etcd.Members.Take(2).Select(member => member.KillAsync()));
            await Task.Delay(TimeSpan.FromSeconds(10));
            await Task.WhenAll(etcd.Members.Take(2).Select(member => member.RestartAsync()));
        });
    }

    private static EtcdOptions Options(EtcdCluster etcd) =>
        new() { Endpoints = [.. etcd.Endpoints.Select(endpoint => endpoint.ToString())], RequestTimeout = TimeSpan.FromSeconds(2) };

    private static async Task SurvivesAsync(HostedCluster cluster, Func<Task> fault)
    {
        var silos = cluster.Silos.Select(silo => silo.SiloAddress).ToList();
        await cluster.ConsistsOfAsync([.. silos]);
        var calls = new Calls(cluster.Client);
        var joined = await JoinedAsync(cluster, fault);
        if (joined.Count == 0)
            joined.Add(await JoinAsync(cluster));
        var before = calls.Succeeded;
        await cluster.ConsistsOfAsync([.. silos, .. joined]);
        await HostedCluster.UntilAsync(() => Task.FromResult(calls.Succeeded > before), "calls go on");
        Assert.Empty(await calls.StopAsync());
    }

    private static async Task<List<SiloAddress>> JoinedAsync(HostedCluster cluster, Func<Task> fault)
    {
        var before = cluster.Silos.Select(silo => silo.SiloAddress).ToHashSet();
        await fault();
        return [.. cluster.Silos.Select(silo => silo.SiloAddress).Where(silo => !before.Contains(silo))];
    }

    private static async Task<SiloAddress> JoinAsync(HostedCluster cluster) => (await cluster.Cluster.StartAdditionalSiloAsync()).SiloAddress;
}
