using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Silos may start together, again, and before etcd.</summary>
public abstract class TableInitialisationTests(SharedEtcd etcd)
{
    [Fact]
    public async Task Repeated_KeepsData()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1));
        var before = await cluster.RawAsync();
        foreach (var table in new[] { cluster.First, cluster.Second, cluster.Table(cluster.Etcd) })
        {
            await table.InitializeMembershipTableAsync(true);
            await table.InitializeMembershipTableAsync(false);
        }

        Assert.Equal(before, await cluster.RawAsync());
    }

    [Fact]
    public async Task WithoutTheAttempt_WritesNothing()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        await cluster.First.InitializeMembershipTableAsync(false);
        Assert.Empty(await cluster.RawAsync());
    }

    [Fact]
    public async Task TwentyAtOnce_MakeOneTable()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Task.Run(() => (i % 2 == 0 ? cluster.First : cluster.Second).InitializeMembershipTableAsync(true))));
        var version = Assert.Single(await cluster.RawAsync());
        // Written once, not twenty times.
        Assert.Equal((1, version.CreateRevision), (version.Version, version.ModRevision));
        Assert.Equal(0, (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task EtcdNotYetUp_WaitsForIt()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await server.StopAsync();
        await using var connection = server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(1));
        var log = new Warnings();
        await using var table = connection.Table(
            new ClusterOptions { ServiceId = "s", ClusterId = "c" },
            new ClusterMembershipOptions { MaxJoinAttemptTime = TimeSpan.FromSeconds(60) },
            log);
        var initialising = table.InitializeMembershipTableAsync(true);
        // It has tried, and says so.
        await Testing.Eventually.IsTrueAsync(() => log.Lines.Count > 0, "the table says that it waits");
        Assert.False(initialising.IsCompleted);
        // Once, however often it tries.
        await Task.Delay(TimeSpan.FromSeconds(4));
        Assert.Contains("Check that etcd runs", Assert.Single(log.Lines));
        await server.RestartAsync();
        await initialising.WaitAsync(TimeSpan.FromSeconds(30));
        await table.InsertAsync(Silos.Entry(1));
    }

    [Fact]
    public async Task EtcdNeverUp_GivesUpInTime()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await server.StopAsync();
        await using var connection = server.Connect(options => options.RequestTimeout = TimeSpan.FromMilliseconds(300));
        await using var table = connection.Table(
            new ClusterOptions { ServiceId = "s", ClusterId = "c" },
            new ClusterMembershipOptions { MaxJoinAttemptTime = TimeSpan.FromSeconds(1) });
        var gaveUp = await Assert.ThrowsAsync<EtcdException>(() => table.InitializeMembershipTableAsync(true).WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Contains(server.Endpoint.Authority, gaveUp.Message, StringComparison.Ordinal);
    }
}

[Trait("Category", "Long")]
public sealed class TableInitialisationOn34(SharedEtcd34 etcd) : TableInitialisationTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableInitialisationOn35(SharedEtcd35 etcd) : TableInitialisationTests(etcd), IClassFixture<SharedEtcd35>;
