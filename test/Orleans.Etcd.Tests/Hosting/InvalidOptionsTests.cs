using Microsoft.Extensions.Hosting;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class InvalidOptionsTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Silo_WithSeveralInvalidOptions_FailsItsStartNamingAll()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(Spoil));
        await AssertAllNamedAsync(host);
    }

    [Fact]
    public async Task Silo_WithSeveralInvalidOptionsOfAKey_FailsItsStartNamingAll()
    {
        using var host = Hosts.Silo(silo =>
        {
            silo.Services.AddKeyedEtcdClient("mine", Spoil);
            silo.UseKeyedEtcdClustering("mine");
        });
        await AssertAllNamedAsync(host);
    }

    [Fact]
    public async Task Client_WithSeveralInvalidOptions_FailsItsStartNamingAll()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering(Spoil));
        await AssertAllNamedAsync(host);
    }

    [Fact]
    public async Task Client_WithSeveralInvalidOptionsOfAKey_FailsItsStartNamingAll()
    {
        using var host = Hosts.Client(client =>
        {
            client.Services.AddKeyedEtcdClient("mine", Spoil);
            client.UseKeyedEtcdClustering("mine");
        });
        await AssertAllNamedAsync(host);
    }

    [Fact]
    public async Task Silo_WithAnIdThatIsNoKey_FailsItsStart()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(etcd.Server.Endpoint.ToString()).WithId(new string('a', 1025)));
        await AssertFailsAsync(host, nameof(ClusterOptions));
    }

    [Fact]
    public async Task Client_WithAnIdThatIsNoKey_FailsItsStart()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering(etcd.Server.Endpoint.ToString()).WithId(new string('a', 1025)));
        await AssertFailsAsync(host, nameof(ClusterOptions));
    }

    private void Spoil(EtcdOptions options)
    {
        options.Endpoints.Add(etcd.Server.Endpoint.ToString());
        options.KeyPrefix = "/x";
        options.Password = "hunter2";
        options.ServerName = "name";
        options.ConnectTimeout = TimeSpan.Zero;
    }

    private Task AssertAllNamedAsync(IHost host) =>
        AssertFailsAsync(host, "EtcdOptions.KeyPrefix ", "EtcdOptions.Password ", "EtcdOptions.ServerName ", "EtcdOptions.ConnectTimeout ");

    private async Task AssertFailsAsync(IHost host, params string[] named)
    {
        var before = await etcd.Server.GetRevisionAsync();
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => host.StartAsync());
        Assert.All(named, option => Assert.Contains(option, exception.Message));
        Assert.DoesNotContain("hunter2", exception.ToString());
        Assert.Equal(before, await etcd.Server.GetRevisionAsync());
    }
}
