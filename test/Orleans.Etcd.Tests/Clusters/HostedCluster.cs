using System.Diagnostics;
using System.Globalization;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Silo;
using Orleans.Messaging;
using Orleans.TestingHost;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Silos and a client in this process, by Orleans' TestingHost over real sockets, with etcd for their membership.</summary>
internal sealed class HostedCluster : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    /// <summary>The time to live of the sessions on which locks hang.</summary>
    public static readonly TimeSpan LockTtl = TimeSpan.FromSeconds(4);

    private HostedCluster(TestCluster cluster) => Cluster = cluster;

    public TestCluster Cluster { get; }

    public IClusterClient Client => Cluster.Client;

    public IReadOnlyList<SiloHandle> Silos => [.. Cluster.GetActiveSilos()];

    /// <summary>Starts silos and a client and waits until every silo sees all as Active.</summary>
    /// <param name="etcd">Where etcd is.</param>
    /// <param name="silos">How many.</param>
    /// <param name="serviceId">Default one of its own.</param>
    /// <param name="clusterId">Default one for all.</param>
    /// <param name="quickProbes">Whether the dead are noticed sooner than by Orleans' defaults; only where silos are to die.</param>
    public static async Task<HostedCluster> StartAsync(EtcdOptions etcd, short silos = 3, string? serviceId = null, string? clusterId = null, bool quickProbes = false)
    {
        var builder = new TestClusterBuilder(silos);
        builder.Options.UseTestClusterMembership = false;
        builder.Options.ConnectionTransport = ConnectionTransportType.TcpSocket;
        builder.Options.ConfigureFileLogging = false;
        builder.Options.ServiceId = serviceId ?? $"service-{Guid.NewGuid():N}";
        builder.Options.ClusterId = clusterId ?? "hosted";
        foreach (var (name, value) in Settings(etcd))
            builder.Properties[$"Orleans:Clustering:{name}"] = value;
        if (quickProbes)
            builder.AddSiloBuilderConfigurator<Quick>();
        builder.AddSiloBuilderConfigurator<Locks>();
        builder.AddClientBuilderConfigurator<Quick>();
        builder.AddClientBuilderConfigurator<Locks>();
        var cluster = new HostedCluster(builder.Build());
        await cluster.Cluster.DeployAsync();
        return cluster;
    }

    public static Task<HostedCluster> StartAsync(EtcdServer etcd, short silos = 3, bool quickProbes = false) => StartAsync(etcd.Options(), silos, quickProbes: quickProbes);

    /// <summary>The silos that the cluster itself takes for Active.</summary>
    public async Task<SiloAddress[]> ActiveAsync() => [.. (await Client.GetGrain<IManagementGrain>(0).GetHosts(onlyActive: true)).Keys];

    public Task<IList<Uri>> GatewaysAsync() => Client.ServiceProvider.GetRequiredService<IGatewayListProvider>().GetGateways();

    /// <summary>Waits until the cluster takes exactly these silos for Active, and each of them has answered a call.</summary>
    public async Task ConsistsOfAsync(params SiloAddress[] silos)
    {
        await UntilAsync(
            async () => silos.ToHashSet().SetEquals(await ActiveAsync()),
            $"exactly {string.Join(", ", silos.AsEnumerable())} are active");
        var missing = silos.ToHashSet();
        await UntilAsync(
            async () =>
            {
                missing.Remove(await Client.GetGrain<IWhere>(Random.Shared.NextInt64()).Here());
                return missing.Count == 0;
            },
            $"all of {string.Join(", ", silos.AsEnumerable())} answer");
    }

    /// <summary>Waits for a condition; while it cannot be asked, it does not hold.</summary>
    public static async Task UntilAsync(Func<Task<bool>> condition, string what, TimeSpan? within = null)
    {
        Exception? last = null;
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < (within ?? Limit);)
        {
            try
            {
                if (await condition().WaitAsync(TimeSpan.FromSeconds(5)))
                    return;
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException)
            {
                last = exception;
            }

            await Task.Delay(20);
        }

        Assert.Fail($"Not within {within ?? Limit}: {what}. {last}");
    }

    public async ValueTask DisposeAsync()
    {
        await Cluster.StopAllSilosAsync();
        await Cluster.DisposeAsync();
    }

    private static IEnumerable<(string Name, string? Value)> Settings(EtcdOptions etcd) =>
    [
        ("ProviderType", "Etcd"),
        (nameof(etcd.Endpoints), string.Join(',', etcd.Endpoints)),
        (nameof(etcd.UserName), etcd.UserName),
        (nameof(etcd.Password), etcd.Password),
        (nameof(etcd.CaCertificateFile), etcd.CaCertificateFile),
        (nameof(etcd.ClientCertificateFile), etcd.ClientCertificateFile),
        (nameof(etcd.ClientKeyFile), etcd.ClientKeyFile),
        (nameof(etcd.RequestTimeout), etcd.RequestTimeout.ToString("c", CultureInfo.InvariantCulture)),
    ];

    private sealed class Locks : ISiloConfigurator, IClientBuilderConfigurator
    {
        public void Configure(ISiloBuilder siloBuilder) => siloBuilder.AddEtcdLocks(options => options.SessionTtl = LockTtl).AddEtcdConfig();

        public void Configure(Microsoft.Extensions.Configuration.IConfiguration configuration, IClientBuilder clientBuilder) =>
            clientBuilder.AddEtcdLocks(options => options.SessionTtl = LockTtl);
    }

    private sealed class Quick : ISiloConfigurator, IClientBuilderConfigurator
    {
        public void Configure(ISiloBuilder siloBuilder) => siloBuilder.Configure<ClusterMembershipOptions>(options => options.ProbeQuickly());

        public void Configure(Microsoft.Extensions.Configuration.IConfiguration configuration, IClientBuilder clientBuilder) =>
            clientBuilder.Configure<GatewayOptions>(options => options.GatewayListRefreshPeriod = TimeSpan.FromSeconds(1));
    }
}
