using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Silos come and go while etcd stays.</summary>
public sealed class HostedClusterTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Silos_LeaveDieJoinAndRestart_AndTheClientFollows()
    {
        await using var cluster = await HostedCluster.StartAsync(etcd.Server, quickProbes: true);
        var silos = cluster.Silos.ToList();
        await cluster.ConsistsOfAsync([.. silos.Select(silo => silo.SiloAddress)]);

        await cluster.Cluster.StopSiloAsync(silos[1]);
        await cluster.ConsistsOfAsync(silos[0].SiloAddress, silos[2].SiloAddress);

        await cluster.Cluster.KillSiloAsync(silos[2]);
        await cluster.ConsistsOfAsync(silos[0].SiloAddress);

        var added = await cluster.Cluster.StartAdditionalSiloAsync();
        await cluster.ConsistsOfAsync(silos[0].SiloAddress, added.SiloAddress);

        var restarted = (await cluster.Cluster.RestartSiloAsync(added))!;
        Assert.Equal(added.SiloAddress.Endpoint, restarted.SiloAddress.Endpoint);
        Assert.True(restarted.SiloAddress.Generation > added.SiloAddress.Generation);
        await cluster.ConsistsOfAsync(silos[0].SiloAddress, restarted.SiloAddress);
        Assert.Equal(2, (await cluster.GatewaysAsync()).Count);
    }

    [Fact]
    public async Task Clusters_WhoseIdsBeginAlike_DoNotSeeEachOther()
    {
        var service = $"service-{Guid.NewGuid():N}";
        await using var prod = await HostedCluster.StartAsync(etcd.Server.Options(), silos: 2, service, "prod");
        await using var europe = await HostedCluster.StartAsync(etcd.Server.Options(), silos: 2, service, "prod-eu");
        foreach (var cluster in new[] { prod, europe })
        {
            var silos = cluster.Silos.Select(silo => silo.SiloAddress).ToArray();
            await cluster.ConsistsOfAsync(silos);
            var hosts = await cluster.Client.GetGrain<IManagementGrain>(0).GetDetailedHosts(onlyActive: false);
            Assert.Equal(silos.Order(), hosts.Select(host => host.SiloAddress).Order());
            Assert.Equal(
                cluster.Silos.Select(silo => silo.GatewayAddress.Endpoint.Port).Order(),
                (await cluster.GatewaysAsync()).Select(gateway => gateway.Port).Order());
        }
    }

    [Fact]
    public async Task Cluster_BesideDamagedAndForeignRows_RunsAndLeavesThem()
    {
        await using var connection = etcd.Server.Connect();
        var service = $"service-{Guid.NewGuid():N}";
        var root = EtcdKeys.Cluster("orleans", service, "damaged");
        var foreign = new Dictionary<string, string>
        {
            [EtcdKeys.Silos(root) + "127.0.0.1:1@1"] = "not JSON",
            [EtcdKeys.Silos(root) + "127.0.0.1:2@1"] = """{"SiloAddress":"127.0.0.1:2@1","Status":"Hibernating"}""",
            [EtcdKeys.Silos(root) + "somebody's own"] = "x",
            [EtcdKeys.Membership(root) + "notes"] = "y",
            [EtcdKeys.Alive(root) + "127.0.0.1:1@1"] = "neither",
        };
        foreach (var (key, value) in foreign)
            await connection.PutAsync(key, value);
        await using var cluster = await HostedCluster.StartAsync(etcd.Server.Options(), silos: 2, service, "damaged");
        await cluster.ConsistsOfAsync([.. cluster.Silos.Select(silo => silo.SiloAddress)]);
        foreach (var (key, value) in foreign)
            Assert.Equal(value, (await connection.GetAsync(key))?.Value.ToStringUtf8());
    }

    [Theory]
    [InlineData(EtcdTls.ServerTls, "orleans")]
    [InlineData(EtcdTls.MutualTls, null)]
    public async Task Cluster_OverTls_Runs(EtcdTls tls, string? user)
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath, Tls = tls, UserName = user, Password = user is null ? null : "secret" });
        await using var cluster = await HostedCluster.StartAsync(server, silos: 2);
        await cluster.ConsistsOfAsync([.. cluster.Silos.Select(silo => silo.SiloAddress)]);
    }
}
