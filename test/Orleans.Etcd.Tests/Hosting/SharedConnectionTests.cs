using Microsoft.Extensions.DependencyInjection;
using Orleans.Messaging;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class SharedConnectionTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task UseEtcdClustering_OfSiloAndClientInOneContainer_MakesOneConnection()
    {
        await using var services = BothBuilder.Build(etcd.Server.Endpoint);

        var table = Assert.IsType<EtcdMembershipTable>(services.GetRequiredService<IMembershipTable>());
        var gateways = Assert.IsType<EtcdGatewayListProvider>(services.GetRequiredService<IGatewayListProvider>());
        await table.InitializeMembershipTableAsync(true);
        // Without it neither can do anything.
        await services.GetRequiredService<EtcdConnection>().DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => table.ReadAllAsync());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => gateways.GetGatewaysAsync());
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_WithAConnectionOfTheApplication_ServesItsSiloAndItsClient()
    {
        await using var connection = etcd.Server.Connect();
        var id = Hosts.NewId();
        using var silo = Hosts.Silo(builder =>
        {
            builder.Services.AddKeyedSingleton("mine", connection);
            builder.UseKeyedEtcdClustering("mine").WithId(id);
        });
        using var client = Hosts.Client(builder =>
        {
            builder.Services.AddKeyedSingleton("mine", connection);
            builder.UseKeyedEtcdClustering("mine").WithId(id);
        });

        await silo.StartAsync();
        await client.StartAsync();
        Assert.Single(await client.Services.GetRequiredService<IClusterClient>().GetGrain<IManagementGrain>(0).GetHosts());
        await client.StopAsync();
        await silo.StopAsync();

        Assert.NotNull(await connection.GetAsync($"orleans/{id}/{id}/membership/version"));
    }
}
