using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What a client learns of the cluster's gateways.</summary>
public sealed class GatewayListTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Gateways_AreTheActiveSilosWithAProxyPort()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        var without = Silos.Entry(4);
        without.ProxyPort = 0;
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2, SiloStatus.Joining), Silos.Entry(3, SiloStatus.Dead), without, Silos.Entry(5));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1 gwy.tcp://127.0.0.1:30005/1");

        // Pushed, not polled: the list follows within a moment.
        var read = await cluster.Second.ReadRowAsync(Silos.Address(5));
        Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(5, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        await SeesAsync(gateways, "gwy.tcp://127.0.0.1:30001/1");
    }

    [Fact]
    public async Task List_IsTheCallersOwn()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await using var gateways = Gateways(cluster.Etcd, cluster.Options);
        (await gateways.GetGatewaysAsync()).Clear();
        Assert.Single(await gateways.GetGatewaysAsync());
    }

    [Fact]
    public async Task EtcdDown_TheLastKnownListStands_AndFollowsAgainAfterwards()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await using var connection = server.Connect();
        var options = new ClusterOptions { ServiceId = "s", ClusterId = "c" };
        await using var table = new EtcdMembershipTable(connection, Microsoft.Extensions.Options.Options.Create(options), Microsoft.Extensions.Options.Options.Create(new ClusterMembershipOptions()), NullLogger<EtcdMembershipTable>.Instance);
        await table.InitializeMembershipTableAsync(true);
        await table.InsertAsync(Silos.Entry(1));
        await using var gateways = Gateways(connection, options);
        Assert.Single(await gateways.GetGatewaysAsync());
        await server.KillAsync();
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
            options.RequestTimeout = TimeSpan.FromSeconds(1);
        });
        await using var gateways = Gateways(connection, new ClusterOptions { ServiceId = "s", ClusterId = "c" });
        var refused = await Assert.ThrowsAsync<EtcdException>(() => gateways.GetGatewaysAsync());
        Assert.Equal(EtcdErrorCode.AuthenticationFailed, refused.Code);
        Assert.DoesNotContain("not-the-right-one", refused.ToString(), StringComparison.Ordinal);
    }

    private static EtcdGatewayListProvider Gateways(EtcdConnection connection, ClusterOptions options) => new(
        connection,
        Microsoft.Extensions.Options.Options.Create(options),
        Microsoft.Extensions.Options.Options.Create(new GatewayOptions()),
        NullLogger<EtcdGatewayListProvider>.Instance);

    private static async Task SeesAsync(EtcdGatewayListProvider gateways, string expected)
    {
        var clock = Stopwatch.StartNew();
        while (true)
        {
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
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(5), $"expected '{expected}', saw '{seen}'");
            await Task.Delay(10);
        }
    }
}
