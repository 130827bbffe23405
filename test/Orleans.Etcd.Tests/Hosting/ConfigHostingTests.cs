using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary><c>AddEtcdConfig</c> on silos: what is refused, and how it is found.</summary>
public sealed class ConfigHostingTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task BadOptions_AreRefusedTogetherByName()
    {
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering("http://127.0.0.1:1").AddEtcdConfig(options =>
        {
            options.Root = "no-slash";
            options.Namespaces.Add("");
            options.StartupTimeout = TimeSpan.Zero;
            options.HistoryLimit = 99;
            options.InstanceName = "";
        }));
        var message = (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message;
        foreach (var option in new[] { "Root", "Namespaces", "StartupTimeout", "HistoryLimit", "InstanceName" })
            Assert.Contains($"EtcdConfigOptions.{option} ", message);
    }

    [Fact]
    public async Task Silo_WithoutAConnection_IsToldWhatToCall()
    {
        using var silo = Hosts.Silo(builder => builder.UseLocalhostClustering().AddEtcdConfig());
        Assert.Contains("AddEtcdClient", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message);
    }

    [Theory]
    [InlineData("config")]
    [InlineData("config-history")]
    public async Task ClusterId_ThatIsTheNameOfARoom_IsRefused(string clusterId)
    {
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering("http://127.0.0.1:1").Configure<ClusterOptions>(options => options.ClusterId = clusterId));
        Assert.Contains($"clusterId is '{clusterId}'", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message);
    }

    [Fact]
    public async Task View_OfANamedNamespace_IsReadBeforeTheSiloIsActive_OverAnyRootAndAKeyedConnection()
    {
        await using var direct = etcd.Server.Connect();
        await direct.PutAsync("/app/config/orders/max-open", "7");
        await direct.PutAsync("/app/config/orders/.overlays/eu/.rule", """{"labels":{"zone":"eu"}}""");
        await direct.PutAsync("/app/config/orders/.overlays/eu/max-open", "8");
        void Set(EtcdConfigOptions options)
        {
            options.Root = "/app/config/";
            options.Namespaces.Add("orders");
            options.Labels["zone"] = "eu";
        }

        using var plain = Hosts.Silo(builder => builder.UseEtcdClustering(options => etcd.Server.Configure(options)).AddEtcdConfig(Set).AddEtcdConfig());
        using var keyed = Hosts.Silo(builder =>
        {
            builder.Services.AddKeyedEtcdClient("key", options => etcd.Server.Configure(options));
            builder.UseLocalhostClustering(LoopbackPort.Take(), LoopbackPort.Take()).AddKeyedEtcdConfig("key", Set);
        });
        foreach (var host in new[] { plain, keyed })
        {
            await host.StartAsync();
            var view = host.Services.GetRequiredKeyedService<IConfigView>("orders");
            Assert.Equal((8, "eu", false), (view.Get<int>("max-open"), view.Get("max-open")!.Layer, view.IsStale));
            Assert.Equal("7", (await host.Services.GetRequiredService<IGrainFactory>().GetGrain<IConfigGrain>("orders").Get("max-open"))!.Text);
            // Another one is not there yet.
            var other = host.Services.GetRequiredKeyedService<IConfigView>("other");
            Assert.Same(other, host.Services.GetRequiredKeyedService<IConfigView>("other"));
            await other.ReadyAsync();
            Assert.Null(other.Get("max-open"));
            Assert.Equal(9, other.Get("max-open", 9));
            await host.StopAsync();
        }
    }

    [Fact]
    public async Task Namespace_ThatCannotBeReadInTime_StopsTheStart()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        using var silo = Hosts.Silo(builder =>
        {
            builder.Services.AddKeyedEtcdClient("key", options => server.Configure(options));
            builder.UseLocalhostClustering(LoopbackPort.Take(), LoopbackPort.Take()).AddKeyedEtcdConfig("key", options =>
            {
                options.Namespaces.Add("orders");
                options.StartupTimeout = TimeSpan.FromSeconds(1);
            });
        });
        await server.KillAsync();
        Assert.Contains("'orders'", (await Assert.ThrowsAsync<TimeoutException>(() => silo.StartAsync())).Message);
    }

    [Fact]
    public async Task Silo_ThatServesNone_SaysWhatToCall()
    {
        using var silo = Hosts.Silo(builder => builder.UseLocalhostClustering(LoopbackPort.Take(), LoopbackPort.Take()));
        await silo.StartAsync();
        var config = silo.Services.GetRequiredService<IGrainFactory>().GetGrain<IConfigGrain>("orders");
        Assert.Contains("AddEtcdConfig", (await Assert.ThrowsAsync<InvalidOperationException>(() => config.Get("a"))).Message);
        Assert.Contains("AddEtcdConfig", (await Assert.ThrowsAsync<InvalidOperationException>(() => config.SubscribeAsync(_ => Task.CompletedTask))).Message);
        await silo.StopAsync();
    }
}
