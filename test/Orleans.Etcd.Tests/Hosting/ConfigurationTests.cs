using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Messaging;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>What <c>Orleans:Clustering</c> may say, without a line of code.</summary>
public abstract class ConfigurationTests
{
    [Fact]
    public void Endpoints_InOneString_AreSplit()
    {
        using var host = Build(Clustering(("Endpoints", "http://a:1,http://b:2")));
        AssertEndpoints(host, "http://a:1/", "http://b:2/");
    }

    [Fact]
    public void Endpoints_InAnArray_AreTaken()
    {
        using var host = Build(Clustering(("Endpoints:0", "http://a:1"), ("Endpoints:1", "http://b:2")));
        AssertEndpoints(host, "http://a:1/", "http://b:2/");
    }

    [Fact]
    public void ConnectionName_OfAConnectionString_GivesItsEndpoints()
    {
        using var host = Build([.. Clustering(("ConnectionName", "etcd")), new("ConnectionStrings:etcd", "http://a:1,http://b:2")]);
        AssertEndpoints(host, "http://a:1/", "http://b:2/");
    }

    [Fact]
    public async Task ConnectionName_WithoutConnectionString_FailsTheStartAndIsNamed()
    {
        using var host = Build(Clustering(("ConnectionName", "forgotten")));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.Contains("Orleans:Clustering:ConnectionName", exception.Message);
        Assert.Contains("'forgotten'", exception.Message);
    }

    [Fact]
    public async Task Endpoints_NotGiven_FailTheStartAndAreNamed()
    {
        using var host = Build(Clustering());
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.StartsWith("EtcdOptions.Endpoints", exception.Message);
    }

    [Fact]
    public void ServiceKey_OfARegisteredConnection_SharesIt()
    {
        using var host = Build(Clustering(("ServiceKey", "mine")), services => services.AddKeyedEtcdClient("mine", etcd => etcd.Endpoints.Add("http://a:1")));
        AssertServed(host);
        Assert.Null(host.Services.GetService<EtcdConnection>());
    }

    [Fact]
    public async Task ServiceKey_OfNothing_FailsTheStartAndIsNamed()
    {
        using var host = Build(Clustering(("ServiceKey", "forgotten")));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.Contains("'forgotten'", exception.Message);
    }

    [Theory]
    [InlineData("KeyPrefix", "x")]
    [InlineData("Endpoints:0", "http://a:1")]
    [InlineData("connectionName", "etcd")]
    public void ServiceKey_BesideOptionsOfAConnection_IsRefusedAndTheyAreNamed(string name, string value)
    {
        var exception = Assert.Throws<OrleansConfigurationException>(() => Build(Clustering(("ServiceKey", "mine"), (name, value)), services => services.AddKeyedEtcdClient("mine", etcd => etcd.Endpoints.Add("http://a:1"))));
        Assert.Contains("Orleans:Clustering:ServiceKey", exception.Message);
        Assert.Contains(name.Split(':')[0], exception.Message);
    }

    [Fact]
    public void Options_BesideTheEndpoints_AreBound()
    {
        using var host = Build(Clustering(
            ("Endpoints", "https://a:1"), ("KeyPrefix", "mine"), ("UserName", "user"), ("Password", "hunter2"), ("ServerName", "name"),
            ("RequestTimeout", "00:00:03"), ("WatchProgressInterval", "00:00:04")));
        var options = host.Services.GetRequiredService<EtcdConnection>().Options;
        Assert.Equal(("mine", "user", "hunter2", "name"), (options.KeyPrefix, options.UserName, options.Password, options.ServerName));
        Assert.Equal((TimeSpan.FromSeconds(3), TimeSpan.FromSeconds(4)), (options.RequestTimeout, options.WatchProgressInterval));
    }

    [Fact]
    public async Task Options_SeveralInvalid_FailTheStartAndAreAllNamed()
    {
        using var host = Build(Clustering(("Endpoints", "http://a:1,nonsense"), ("KeyPrefix", "/x"), ("Password", "hunter2"), ("RequestTimeout", "-00:00:01")));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        foreach (var option in new[] { "Endpoints", "KeyPrefix", "Password", "RequestTimeout" })
            Assert.Contains($"EtcdOptions.{option} ", exception.Message);
        Assert.DoesNotContain("hunter2", exception.ToString());
    }

    [Fact]
    public async Task Options_OfTheWrongType_FailTheStartAndAreNamed()
    {
        using var host = Build(Clustering(("Endpoints", "http://a:1"), ("RequestTimeout", "soon")));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.Contains("'Orleans:Clustering:RequestTimeout'", exception.Message);
    }

    private static IEnumerable<KeyValuePair<string, string?>> Clustering(params (string Name, string Value)[] settings) =>
        [new("Orleans:Clustering:ProviderType", "Etcd"), .. settings.Select(setting => KeyValuePair.Create("Orleans:Clustering:" + setting.Name, (string?)setting.Value))];

    protected abstract IHost Build(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services = null);

    /// <summary>That Orleans gets the membership table or the gateway list.</summary>
    protected abstract void AssertServed(IHost host);

    private void AssertEndpoints(IHost host, params string[] endpoints)
    {
        AssertServed(host);
        Assert.Equal(endpoints, host.Services.GetRequiredService<EtcdConnection>().Endpoints.Select(endpoint => endpoint.ToString()));
    }
}

public sealed class SiloConfigurationTests : ConfigurationTests
{
    protected override IHost Build(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services = null) => Hosts.Silo(settings, services);

    protected override void AssertServed(IHost host) => Assert.IsType<EtcdMembershipTable>(host.Services.GetRequiredService<IMembershipTable>());
}

public sealed class ClientConfigurationTests : ConfigurationTests
{
    protected override IHost Build(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services = null) => Hosts.Client(settings, services);

    protected override void AssertServed(IHost host) => Assert.IsType<EtcdGatewayListProvider>(host.Services.GetRequiredService<IGatewayListProvider>());
}
