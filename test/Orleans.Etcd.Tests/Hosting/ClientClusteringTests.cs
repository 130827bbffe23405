using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Configuration;
using Orleans.Messaging;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class ClientClusteringTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public void UseEtcdClustering_WithString_ServesTheGatewaysFromItsEndpoints()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering("http://a:1, http://b:2;http://c"));
        AssertGateways(host, "http://a:1/", "http://b:2/", "http://c:2379/");
    }

    [Fact]
    public void UseEtcdClustering_WithOptions_ServesTheGatewaysFromThem()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering(options =>
        {
            options.Endpoints = ["http://a:1"];
            options.KeyPrefix = "mine";
        }));
        AssertGateways(host, "http://a:1/");
        Assert.Equal("mine", host.Services.GetRequiredService<EtcdConnection>().Options.KeyPrefix);
    }

    [Fact]
    public void UseEtcdClustering_WithOptionsBuilder_MayUseOtherServices()
    {
        using var host = Hosts.Client(client =>
        {
            client.Services.AddSingleton(new Uri("http://found:1"));
            client.UseEtcdClustering(options => options.Configure<Uri>((etcd, found) => etcd.Endpoints.Add(found.ToString())));
        });
        AssertGateways(host, "http://found:1/");
    }

    [Fact]
    public async Task UseEtcdClustering_OfAClient_UsesTheConnectionOfTheProcess()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering(Configure));
        await AssertNeedsAsync(host, host.Services.GetRequiredService<EtcdConnection>());
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_OfAClient_UsesTheConnectionOfThatKey()
    {
        using var host = Hosts.Client(client =>
        {
            client.Services.AddKeyedEtcdClient("mine", Configure);
            client.Services.AddEtcdClient(Configure);
            client.UseKeyedEtcdClustering("mine");
        });
        await AssertNeedsAsync(host, host.Services.GetRequiredKeyedService<EtcdConnection>("mine"));
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_WithUnknownKey_FailsTheStartAndNamesIt()
    {
        var before = await etcd.Server.GetRevisionAsync();
        using var host = Hosts.Client(client =>
        {
            client.Services.AddEtcdClient(Configure);
            client.UseKeyedEtcdClustering("forgotten");
        });

        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());

        Assert.Contains("'forgotten'", exception.Message);
        Assert.Equal(before, await etcd.Server.GetRevisionAsync());
    }

    private static void AssertGateways(IHost host, params string[] endpoints)
    {
        Assert.IsType<EtcdGatewayListProvider>(host.Services.GetRequiredService<IGatewayListProvider>());
        Assert.Equal(endpoints, host.Services.GetRequiredService<EtcdConnection>().Endpoints.Select(endpoint => endpoint.ToString()));
    }

    private static async Task AssertNeedsAsync(IHost host, EtcdConnection connection)
    {
        var gateways = host.Services.GetRequiredService<IGatewayListProvider>();
        connection.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => gateways.GetGatewaysAsync());
    }

    private void Configure(EtcdOptions options)
    {
        options.Endpoints.Add(etcd.Server.Endpoint.ToString());
        options.RequestTimeout = TimeSpan.FromSeconds(1);
    }
}
