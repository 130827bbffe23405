using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class ConfiguredClusterTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Theory]
    [InlineData("Orleans:Clustering:Endpoints")]
    [InlineData("Orleans:Clustering:Endpoints:0")]
    [InlineData("ConnectionStrings:etcd")]
    public async Task SiloAndClient_FromConfigurationAlone_FindEachOther(string endpointKey)
    {
        var id = Hosts.NewId();
        KeyValuePair<string, string?>[] settings =
        [
            new("Orleans:ServiceId", id),
            new("Orleans:ClusterId", id),
            new("Orleans:Clustering:ProviderType", "Etcd"),
            new("Orleans:Clustering:ConnectionName", "etcd"),
            new(endpointKey, etcd.Server.Endpoint.ToString()),
            new("Orleans:Endpoints:AdvertisedIPAddress", "127.0.0.1"),
            new("Orleans:Endpoints:SiloPort", LoopbackPort.Take().ToString(CultureInfo.InvariantCulture)),
            new("Orleans:Endpoints:GatewayPort", LoopbackPort.Take().ToString(CultureInfo.InvariantCulture)),
        ];
        using var silo = Hosts.Silo(settings);
        using var client = Hosts.Client(settings);

        await silo.StartAsync();
        await client.StartAsync();
        var hosts = await client.Services.GetRequiredService<IClusterClient>().GetGrain<IManagementGrain>(0).GetHosts();
        await client.StopAsync();
        await silo.StopAsync();

        var (address, status) = Assert.Single(hosts);
        Assert.Equal(silo.Services.GetRequiredService<ILocalSiloDetails>().SiloAddress, address);
        Assert.Equal(SiloStatus.Active, status);
    }
}
