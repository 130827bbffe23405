using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Mvccpb;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Clusters;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>One etcd and a cluster of three silos on it, shared by the tests of a class that leave both running.</summary>
public sealed class LockCluster : IAsyncLifetime
{
    private int _names;
    private HostedCluster _cluster = null!;

    public EtcdServer Etcd { get; private set; } = null!;

    public EtcdConnection Connection { get; private set; } = null!;

    public IClusterClient Client => _cluster.Client;

    public string ServiceId => _cluster.Cluster.Options.ServiceId;

    /// <summary>The client's.</summary>
    public ILocks Locks => Client.ServiceProvider.GetRequiredService<ILocks>();

    public string NewName() => $"lock-{Interlocked.Increment(ref _names)}";

    /// <summary>The queue of a mutex as etcd has it, first come first.</summary>
    public async Task<IReadOnlyList<KeyValue>> KeysAsync(string name, string room = "locks") =>
        [.. (await Connection.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", ServiceId, room, name)))).Kvs.OrderBy(kv => kv.CreateRevision)];

    public Task UntilQueuedAsync(string name, int keys) =>
        Eventually.IsTrueAsync(async () => (await KeysAsync(name)).Count == keys, $"{keys} keys are queued for {name}");

    /// <summary>A client that knows the silos' gateways, and nothing of etcd.</summary>
    public async Task<IHost> StartClientWithoutEtcdAsync()
    {
        var gateways = (await _cluster.GatewaysAsync()).Select(gateway => gateway.ToIPEndPoint()!).ToArray();
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.UseOrleansClient(client => client
            .UseStaticClustering(gateways)
            .AddEtcdLocks(options => options.SessionTtl = HostedCluster.LockTtl)
            .Configure<ClusterOptions>(options => (options.ServiceId, options.ClusterId) = (ServiceId, _cluster.Cluster.Options.ClusterId)));
        var host = builder.Build();
        await host.StartAsync();
        return host;
    }

    public async Task InitializeAsync()
    {
        Etcd = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        Connection = Etcd.Connect();
        _cluster = await HostedCluster.StartAsync(Etcd);
    }

    public async Task DisposeAsync()
    {
        await _cluster.DisposeAsync();
        await Connection.DisposeAsync();
        await Etcd.DisposeAsync();
    }
}
