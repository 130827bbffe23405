using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Testing;
using Orleans.Messaging;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>What is disposed leaves no stream open on etcd, whichever way it is disposed.</summary>
public sealed class DisposalTests : IAsyncLifetime
{
    private EtcdServer _server = null!;

    public async Task InitializeAsync() => _server = await EtcdServer.StartAsync();

    public async Task DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public Task Dispose_OfAContainer_EndsItsConnectionAndStreams() => AssertEndsAsync(services =>
    {
        services.Dispose();
        return ValueTask.CompletedTask;
    });

    [Fact]
    public Task DisposeAsync_OfAContainer_EndsItsConnectionAndStreams() => AssertEndsAsync(services => services.DisposeAsync());

    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task Dispose_OfHosts_EndsTheirStreams(bool stopped, bool synchronously)
    {
        var id = Hosts.NewId();
        var silo = Hosts.Silo(builder => builder.UseEtcdClustering(_server.Endpoint.ToString()).WithId(id));
        var client = Hosts.Client(builder => builder.UseEtcdClustering(_server.Endpoint.ToString()).WithId(id));
        await silo.StartAsync();
        await client.StartAsync();
        // The silo's table, all silos' leases, the renewals of its own; the client's gateways.
        await AssertOpenStreamsAsync(4);

        foreach (var host in new[] { client, silo })
        {
            if (stopped)
                await host.StopAsync();
            if (synchronously)
                host.Dispose();
            else
                await ((IAsyncDisposable)host).DisposeAsync();
        }

        await AssertOpenStreamsAsync(0);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Dispose_OfTableAndGatewayList_EndsTheirWatchesAndNotTheConnection(bool synchronously)
    {
        await using var services = BothBuilder.Build(_server.Endpoint);
        var table = services.GetRequiredService<IMembershipTable>();
        var gateways = services.GetRequiredService<IGatewayListProvider>();
        await table.InitializeMembershipTableAsync(tryInitTableVersion: true);
        await gateways.GetGatewaysAsync();
        await AssertOpenStreamsAsync(2);

        foreach (var part in new object[] { table, gateways })
        {
            if (synchronously)
                ((IDisposable)part).Dispose();
            else
                await ((IAsyncDisposable)part).DisposeAsync();
        }

        await AssertOpenStreamsAsync(0);
        await services.GetRequiredService<EtcdConnection>().GetAsync("a");
    }

    [Fact]
    public async Task Dispose_OfAConnection_MayBeRepeated()
    {
        var etcd = _server.Connect();
        await etcd.PutAsync("a", "1");
        etcd.Dispose();
        etcd.Dispose();
        await etcd.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => etcd.PutAsync("a", "2"));
    }

    [Fact]
    public async Task DisposeAsync_OfAConnection_MayBeRepeated()
    {
        var etcd = _server.Connect();
        await etcd.PutAsync("a", "1");
        await etcd.DisposeAsync();
        await etcd.DisposeAsync();
        etcd.Dispose();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => etcd.PutAsync("a", "2"));
    }

    [Fact]
    public void Dispose_OfAConnectionNeverUsed_SendsNothing() => _server.Connect(through: new Uri("http://127.0.0.1:1")).Dispose();

    private async Task AssertEndsAsync(Func<ServiceProvider, ValueTask> dispose)
    {
        var services = BothBuilder.Build(_server.Endpoint);
        var etcd = services.GetRequiredService<EtcdConnection>();
        await services.GetRequiredService<IMembershipTable>().InitializeMembershipTableAsync(tryInitTableVersion: true);
        await services.GetRequiredService<IGatewayListProvider>().GetGatewaysAsync();
        await etcd.Leases.GrantAsync(TimeSpan.FromMinutes(1), CancellationToken.None);
        await AssertOpenStreamsAsync(3);

        await dispose(services);

        await Assert.ThrowsAsync<ObjectDisposedException>(() => etcd.GetAsync("a"));
        await AssertOpenStreamsAsync(0);
    }

    /// <summary>Waits until etcd itself counts so many open streams: watches and lease renewals.</summary>
    private async Task AssertOpenStreamsAsync(int expected)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        long open;
        do
        {
            Assert.False(limit.IsCancellationRequested, $"etcd does not come to {expected} open streams");
            open = await Metrics.ReadAsync(_server, "grpc_server_started_total", "bidi_stream") - await Metrics.ReadAsync(_server, "grpc_server_handled_total", "bidi_stream");
        }
        while (open != expected);
    }
}
