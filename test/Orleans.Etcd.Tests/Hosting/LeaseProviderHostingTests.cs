using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Tests.Testing;
using Orleans.LeaseProviders;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class LeaseProviderHostingTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task StreamQueues_BalancedByLeases_AreKeysInEtcd()
    {
        var id = Hosts.NewId();
        using var host = Hosts.Silo(silo => silo
            .WithId(id)
            .UseEtcdClustering(options => etcd.Server.Configure(options))
            .AddEtcdLeaseProvider()
            .AddMemoryGrainStorage("PubSubStore")
            .AddMemoryStreams("orders", streams =>
            {
                streams.ConfigurePartitioning(4);
                streams.UseLeaseBasedQueueBalancer(options => options.Configure(leases => leases.LeaseCategory = "order queues"));
            }));
        await host.StartAsync();
        var connection = host.Services.GetRequiredService<EtcdConnection>();
        await Eventually.IsTrueAsync(async () => (await connection.RangeAsync(Txn.Range($"orleans/{id}/leases/order queues/"))).Kvs.Count(kv => kv.Lease != 0) == 4, "the silo holds all four queues");
        await host.StopAsync();
    }

    [Fact]
    public async Task AddKeyedEtcdLeaseProvider_UsesThatConnection_AndSaysIfThereIsNone()
    {
        using var host = Hosts.Silo(silo =>
        {
            silo.UseLocalhostClustering().AddKeyedEtcdLeaseProvider("other");
            silo.Services.AddKeyedEtcdClient("other", options => etcd.Server.Configure(options));
        });
        var result = Assert.Single(await host.Services.GetRequiredService<ILeaseProvider>().Acquire("a", [new LeaseRequest("b", TimeSpan.FromMinutes(1))]));
        Assert.Equal(ResponseCode.OK, result.StatusCode);

        using var none = Hosts.Silo(silo => silo.UseLocalhostClustering().AddKeyedEtcdLeaseProvider("other"));
        Assert.Contains("other", Assert.Throws<OrleansConfigurationException>(none.Services.GetRequiredService<ILeaseProvider>).Message);
        Assert.Contains("other", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => none.StartAsync())).Message);
    }
}
