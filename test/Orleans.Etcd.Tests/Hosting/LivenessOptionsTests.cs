using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class LivenessOptionsTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Silo_WithInvalidOptions_FailsItsStartNamingAll()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(etcd.Server.Endpoint.ToString()).Configure<EtcdLivenessOptions>(options =>
        {
            options.LeaseTtl = TimeSpan.FromMilliseconds(999);
            options.PingTimeout = TimeSpan.FromHours(1);
            options.PingInterval = TimeSpan.FromSeconds(0.1);
            options.Agents = 0;
            options.EvictionPolicy = (EtcdEvictionPolicy)7;
        }));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        foreach (var option in new[] { "LeaseTtl", "PingTimeout", "PingInterval", "Agents", "EvictionPolicy" })
            Assert.Contains($"EtcdLivenessOptions.{option} is ", exception.Message);
    }

    [Theory]
    [InlineData("Endpoints", "http://127.0.0.1:1")]
    [InlineData("ServiceKey", "mine")]
    public void Silo_FromConfiguration_TakesItsOptions(string connection, string value)
    {
        using var host = Configured(connection, value, ("LeaseTtl", "00:00:07"), ("PingTimeout", "00:00:03"), ("PingInterval", "00:00:00"), ("Agents", "2"), ("EvictionPolicy", "ReportOnly"));
        var options = host.Services.GetRequiredService<IOptions<EtcdLivenessOptions>>().Value;
        Assert.Equal((TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(3), TimeSpan.Zero), (options.LeaseTtl, options.PingTimeout, options.PingInterval));
        Assert.Equal((2, EtcdEvictionPolicy.ReportOnly), (options.Agents, options.EvictionPolicy));
    }

    [Fact]
    public async Task Silo_FromConfigurationThatDoesNotFit_FailsItsStartNamingIt()
    {
        using var host = Configured("Endpoints", etcd.Server.Endpoint.ToString(), ("LeaseTtl", "soon"));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.Contains("Liveness:LeaseTtl", exception.Message);
        Assert.Contains("soon", exception.Message);
    }

    [Fact]
    public void Client_LooksAtItsGatewaysEverySecond() => Assert.Equal(TimeSpan.FromSeconds(1), RefreshPeriod(client => client.UseEtcdClustering("http://a:1")));

    [Fact]
    public void Client_WithAPeriodOfTheUsersOwn_KeepsItWhereverItStands()
    {
        static void Own(GatewayOptions options) => options.GatewayListRefreshPeriod = TimeSpan.FromMinutes(3);
        Assert.Equal(TimeSpan.FromMinutes(3), RefreshPeriod(client => client.Configure<GatewayOptions>(Own).UseEtcdClustering("http://a:1")));
        Assert.Equal(TimeSpan.FromMinutes(3), RefreshPeriod(client => client.UseEtcdClustering("http://a:1").Configure<GatewayOptions>(Own)));
    }

    private static TimeSpan RefreshPeriod(Action<IClientBuilder> configure)
    {
        using var host = Hosts.Client(configure);
        return host.Services.GetRequiredService<IOptions<GatewayOptions>>().Value.GatewayListRefreshPeriod;
    }

    private static IHost Configured(string connection, string value, params (string Name, string Value)[] liveness)
    {
        var id = Hosts.NewId();
        return Hosts.Silo(
            [
                new("Orleans:ServiceId", id),
                new("Orleans:ClusterId", id),
                new("Orleans:Clustering:ProviderType", "Etcd"),
                new($"Orleans:Clustering:{connection}", value),
                .. liveness.Select(option => new KeyValuePair<string, string?>($"Orleans:Clustering:Liveness:{option.Name}", option.Value)),
            ],
            services => services.AddKeyedEtcdClient("mine", options => options.Endpoints.Add("http://127.0.0.1:1")));
    }
}
