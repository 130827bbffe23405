using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class SiloClusteringTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public void UseEtcdClustering_WithString_ServesTheTableFromItsEndpoints()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering("http://a:1, http://b:2;http://c"));
        AssertTable(host, "http://a:1/", "http://b:2/", "http://c:2379/");
    }

    [Fact]
    public void UseEtcdClustering_WithOptions_ServesTheTableFromThem()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(options =>
        {
            options.Endpoints = ["http://a:1"];
            options.KeyPrefix = "mine";
        }));
        AssertTable(host, "http://a:1/");
        Assert.Equal("mine", host.Services.GetRequiredService<EtcdConnection>().Options.KeyPrefix);
    }

    [Fact]
    public void UseEtcdClustering_WithOptionsBuilder_MayUseOtherServices()
    {
        using var host = Hosts.Silo(silo =>
        {
            silo.Services.AddSingleton(new Uri("http://found:1"));
            silo.UseEtcdClustering(options => options.Configure<Uri>((etcd, found) => etcd.Endpoints.Add(found.ToString())));
        });
        AssertTable(host, "http://found:1/");
    }

    [Fact]
    public void UseEtcdClustering_WithBoundSection_TakesItsOptions()
    {
        var section = new ConfigurationBuilder().AddInMemoryCollection([new("Etcd:Endpoints", "http://a:1,http://b:1"), new("Etcd:ConnectTimeout", "00:00:07")]).Build().GetSection("Etcd");
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering((OptionsBuilder<EtcdOptions> options) => options.BindEtcd(section)));
        AssertTable(host, "http://a:1/", "http://b:1/");
        Assert.Equal(TimeSpan.FromSeconds(7), host.Services.GetRequiredService<EtcdConnection>().Options.ConnectTimeout);
    }

    [Fact]
    public async Task UseEtcdClustering_OfASilo_UsesTheConnectionOfTheProcess()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(etcd.Server.Endpoint.ToString()));
        var table = host.Services.GetRequiredService<IMembershipTable>();
        await table.ReadAllAsync();

        host.Services.GetRequiredService<EtcdConnection>().Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => table.ReadAllAsync());
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_OfASilo_UsesTheConnectionOfThatKey()
    {
        using var host = Hosts.Silo(silo =>
        {
            silo.Services.AddKeyedEtcdClient("mine", options => options.Endpoints.Add(etcd.Server.Endpoint.ToString()));
            silo.Services.AddEtcdClient(options => options.Endpoints.Add(etcd.Server.Endpoint.ToString()));
            silo.UseKeyedEtcdClustering("mine");
        });
        var table = host.Services.GetRequiredService<IMembershipTable>();
        await table.ReadAllAsync();

        host.Services.GetRequiredKeyedService<EtcdConnection>("mine").Dispose();

        await Assert.ThrowsAsync<ObjectDisposedException>(() => table.ReadAllAsync());
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_WithoutADefaultConnection_StartsTheSilo()
    {
        using var host = Hosts.Silo(silo =>
        {
            silo.Services.AddKeyedEtcdClient("mine", options => options.Endpoints.Add(etcd.Server.Endpoint.ToString()));
            silo.UseKeyedEtcdClustering("mine");
        });

        await host.StartAsync();

        Assert.Single(await host.Services.GetRequiredService<IGrainFactory>().GetGrain<IManagementGrain>(0).GetHosts());
        await host.StopAsync();
    }

    [Fact]
    public async Task UseKeyedEtcdClustering_WithUnknownKey_FailsTheStartAndNamesIt()
    {
        var before = await etcd.Server.GetRevisionAsync();
        using var host = Hosts.Silo(silo =>
        {
            silo.Services.AddEtcdClient(options => options.Endpoints.Add(etcd.Server.Endpoint.ToString()));
            silo.UseKeyedEtcdClustering("forgotten");
        });

        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());

        Assert.Contains("'forgotten'", exception.Message);
        Assert.Equal(before, await etcd.Server.GetRevisionAsync());
    }

    private static void AssertTable(IHost host, params string[] endpoints)
    {
        Assert.IsType<EtcdMembershipTable>(host.Services.GetRequiredService<IMembershipTable>());
        Assert.Equal(endpoints, host.Services.GetRequiredService<EtcdConnection>().Endpoints.Select(endpoint => endpoint.ToString()));
    }
}
