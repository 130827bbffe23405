using System.Diagnostics;
using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What a client learns of the cluster's gateways.</summary>
public abstract class GatewayListTests(SharedEtcd etcd)
{
    // A push takes milliseconds; a list that were polled would be a minute late.
    private static readonly TimeSpan Push = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task Gateways_AreTheActiveSilosWithAProxyPort()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        var without = Silos.Entry(4);
        without.ProxyPort = 0;
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2, SiloStatus.Joining), Silos.Entry(3, SiloStatus.Dead), without, Silos.Entry(5));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30005/1");
    }

    [Fact]
    public async Task Change_IsPushedWithinASecond()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1");
        // The second time it can only be the watch that says so, and not the first read.
        await cluster.First.InsertAsync(Silos.Entry(2));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30002/1");
        await cluster.First.InsertAsync(Silos.Entry(5));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30002/1 gwy.tcp://127.0.0.1:30005/1", Push);
        var read = await cluster.Second.ReadRowAsync(Silos.Address(5));
        Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(5, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30002/1", Push);
        await cluster.Second.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);
        await SeesAsync(gateways, "", Push);
    }

    [Fact]
    public async Task IPv6Silo_IsAGatewayToo()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1);
        entry.SiloAddress = SiloAddress.New(IPAddress.IPv6Loopback, 11111, 42);
        await cluster.First.InsertAsync(entry);
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        var gateway = Assert.Single(await gateways.GetGatewaysAsync());
        Assert.Equal("gwy.tcp://[::1]:30001/42", gateway.ToString());
        Assert.Equal(new IPEndPoint(IPAddress.IPv6Loopback, 30001), gateway.ToGatewayAddress()!.Endpoint);
    }

    [Fact]
    public async Task DamagedRows_AreNoGateways_AndTheOthersAre()
    {
        var log = new Warnings();
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var key = cluster.Layout.RowKey(Silos.Address(2)).ToStringUtf8();
        await cluster.Etcd.PutAsync(key, "garbage");
        foreach (var (silo, port) in new[] { (3, 65536), (4, int.MaxValue), (5, -1) })
            await cluster.Etcd.PutAsync(cluster.Layout.RowKey(Silos.Address(silo)).ToStringUtf8(), $$"""{"SiloAddress":"127.0.0.1:{{10_000 + silo}}@1","Status":"Active","ProxyPort":{{port}}}""");
        await using var gateways = Gateways(cluster.Etcd, cluster.Options, log);
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1");
        await cluster.First.InsertAsync(Silos.Entry(6));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30006/1");
        Assert.Single(log.Lines, line => line.Contains(key, StringComparison.Ordinal));
    }

    [Fact]
    public async Task List_IsTheCallersOwn()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        var mine = await gateways.GetGatewaysAsync();
        mine[0] = new Uri("gwy.tcp://127.0.0.1:1/1");
        Assert.Equal("gwy.tcp://127.0.0.1:30001/1", Assert.Single(await gateways.GetGatewaysAsync()).ToString());
    }

    [Fact]
    public async Task EtcdDown_TheLastKnownListStands_AndFollowsAgainAfterwards()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await using var connection = server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(2));
        var options = new ClusterOptions { ServiceId = "s", ClusterId = "c" };
        await using var table = connection.Table(options);
        await table.InitializeMembershipTableAsync(true);
        await table.InsertAsync(Silos.Entry(1));
        await using var gateways = Gateways(connection, options);
        Assert.Single(await gateways.GetGatewaysAsync());
        await server.KillAsync();
        // Once a request has failed for good the watch has noticed as well.
        await Assert.ThrowsAsync<EtcdException>(() => table.ReadAllAsync());
        Assert.Single(await gateways.GetGatewaysAsync());
        await server.RestartAsync();
        await table.InsertAsync(Silos.Entry(2));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30002/1");
    }

    [Fact]
    public async Task EtcdNotYetUp_SaysSoInTime_AndWorksOnceItIs()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await server.StopAsync();
        await using var connection = server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(1));
        await using var gateways = Gateways(connection, new ClusterOptions { ServiceId = "s", ClusterId = "c" });
        await gateways.InitializeGatewayListProviderAsync();
        var clock = Stopwatch.StartNew();
        var unavailable = await Assert.ThrowsAsync<SiloUnavailableException>(() => gateways.GetGatewaysAsync());
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(3));
        Assert.Contains(server.Endpoint.Authority, unavailable.Message, StringComparison.Ordinal);
        await server.RestartAsync();
        await SeesAsync(gateways, "");
    }

    [Fact]
    public async Task WrongPassword_IsSaidClearly()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath, UserName = "root", Password = "right" });
        await using var connection = server.Connect(options =>
        {
            options.Password = "not-the-right-one";
            options.RequestTimeout = TimeSpan.FromMinutes(1);
        });
        await using var gateways = Gateways(connection, new ClusterOptions { ServiceId = "s", ClusterId = "c" });
        // As soon as etcd has said so, and not when the time is over.
        var refused = await Assert.ThrowsAsync<EtcdException>(() => gateways.GetGatewaysAsync()).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal(EtcdErrorCode.AuthenticationFailed, refused.Code);
        Assert.DoesNotContain("not-the-right-one", refused.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task GetGateways_GivenUpManyTimes_LeavesNobodyWaiting()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        proxy.Stall();
        await using var connection = etcd.Server.Connect(options => options.RequestTimeout = TimeSpan.FromMilliseconds(100), proxy.Endpoint);
        await using var gateways = Gateways(connection, new ClusterOptions { ServiceId = "s", ClusterId = "c" });
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => gateways.GetGatewaysAsync(cancelled.Token));
        for (var i = 0; i < 5; i++)
            await Assert.ThrowsAsync<SiloUnavailableException>(() => gateways.GetGatewaysAsync());
        proxy.Pass();
        await SeesAsync(gateways, "");
    }

    private static EtcdGatewayListProvider Gateways(EtcdConnection connection, ClusterOptions options, ILogger<EtcdGatewayListProvider>? logger = null) => new(
        connection,
        Microsoft.Extensions.Options.Options.Create(options),
        Microsoft.Extensions.Options.Options.Create(new GatewayOptions()),
        logger ?? NullLogger<EtcdGatewayListProvider>.Instance);

    private static async Task SeesAsync(EtcdGatewayListProvider gateways, string expected, TimeSpan? within = null)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
            // Taken before asking, so that a slow machine costs no false alarm.
            var asked = clock.Elapsed;
            string seen;
            try
            {
                seen = string.Join(" ", (await gateways.GetGatewaysAsync()).Select(uri => uri.ToString()).Order(StringComparer.Ordinal));
            }
            catch (SiloUnavailableException exception)
            {
                seen = exception.Message;
            }

            if (seen == expected)
                return;
            Assert.True(asked < (within ?? TimeSpan.FromSeconds(5)), $"expected '{expected}', saw '{seen}' {asked} later");
            await Task.Delay(10);
        }
    }
}

[Trait("Category", "Long")]
public sealed class GatewayListOn34(SharedEtcd34 etcd) : GatewayListTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class GatewayListOn35(SharedEtcd35 etcd) : GatewayListTests(etcd), IClassFixture<SharedEtcd35>;
