using System.Collections.Concurrent;
using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Silo;
using Orleans.Messaging;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>A cluster of silo processes and one client in this process.</summary>
internal sealed class ClusterProcesses(IReadOnlyList<Uri> endpoints) : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    private readonly string _clusterId = $"cluster-{Guid.NewGuid():N}";
    private readonly ConcurrentQueue<SiloProcess> _silos = [];
    private IHost? _client;

    /// <summary>What the client was told of gateways, whenever it asked by itself.</summary>
    public GatewayLists? Gateways { get; private set; }

    /// <summary>Its service's and its own.</summary>
    public string Id => _clusterId;

    public IClusterClient Client => _client!.Services.GetRequiredService<IClusterClient>();

    /// <param name="name">Its name.</param>
    /// <param name="ports">Where it listens; default anywhere.</param>
    /// <param name="defaultProbes">Whether it probes others as Orleans does by default, rather than to have the dead noticed soon.</param>
    /// <param name="more">Other settings of the silo's program.</param>
    public async Task<SiloProcess> StartSiloAsync(string name, (int Silo, int Gateway)? ports = null, bool defaultProbes = false, params (string Name, string Value)[] more)
    {
        var (siloPort, gatewayPort) = ports ?? (LoopbackPort.Take(), LoopbackPort.Take());
        var settings = new Dictionary<string, string> { ["Endpoints"] = string.Join(',', endpoints), ["ClusterId"] = _clusterId, ["DefaultProbes"] = $"{defaultProbes}" };
        foreach (var (setting, value) in more)
            settings[setting] = value;
        var silo = await SiloProcess.StartAsync(name, settings, siloPort, gatewayPort);
        _silos.Enqueue(silo);
        return silo;
    }

    /// <summary>
    /// Starts three silos whose probes are Orleans' own and waits until each sees all, and has held its lease long enough to
    /// judge others. Settings for one silo only go to the first: those of where etcd is.
    /// </summary>
    public async Task<SiloProcess[]> StartThreeAsync(params (string Name, string Value)[] more)
    {
        var common = more.Where(setting => setting.Name != "Endpoints").ToArray();
        // One after another: three that start at once take both cores of a small machine for seconds, and tests beside this
        // one have deadlines of their own.
        SiloProcess[] silos = [await StartActiveAsync("one", more), await StartActiveAsync("two", common), await StartActiveAsync("three", common)];
        await SettledAsync(silos);
        return silos;
    }

    /// <summary>Waits until each silo sees all as Active, and for one default TTL more.</summary>
    public async Task SettledAsync(params SiloProcess[] silos)
    {
        foreach (var silo in silos)
        {
            foreach (var other in silos)
                await silo.SeesAsync(other, SiloStatus.Active, Limit);
        }

        await Task.Delay(new EtcdLivenessOptions().LeaseTtl);
    }

    public Task<TableCommits> WatchTableAsync(EtcdConnection etcd) => TableCommits.WatchAsync(etcd, new ClusterOptions { ServiceId = _clusterId, ClusterId = _clusterId });

    /// <summary>A grain that lives on a given silo.</summary>
    public async Task<IWhere> FindGrainAsync(SiloProcess silo)
    {
        for (var clock = Stopwatch.StartNew(); ;)
        {
            var grain = Client.GetGrain<IWhere>(Random.Shared.NextInt64());
            if ((await grain.Here()).Endpoint.Equals(silo.Endpoint))
                return grain;
            Assert.True(clock.Elapsed < Limit, $"no grain comes to {silo.Name}");
        }
    }

    public async Task StartClientAsync()
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.UseOrleansClient(client =>
        {
            client.UseEtcdClustering(string.Join(',', endpoints)).AddEtcdLocks().Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = _clusterId);
            var provider = client.Services.Last(service => service.ServiceType == typeof(IGatewayListProvider));
            client.Services.Remove(provider);
            client.Services.AddSingleton<IGatewayListProvider>(services => Gateways = new GatewayLists((IGatewayListProvider)provider.ImplementationFactory!(services)));
        });
        _client = builder.Build();
        await _client.StartAsync();
    }

    /// <summary>Waits until the cluster itself says that the silo's latest incarnation has this status.</summary>
    public async Task<MembershipEntry> SeesAsync(SiloProcess silo, SiloStatus status)
    {
        var clock = Stopwatch.StartNew();
        MembershipEntry? last = null;
        while (clock.Elapsed < Limit)
        {
            try
            {
                var hosts = await Client.GetGrain<IManagementGrain>(0).GetDetailedHosts(onlyActive: false).WaitAsync(TimeSpan.FromSeconds(5));
                last = hosts.Where(host => host.SiloAddress.Endpoint.Equals(silo.Endpoint)).MaxBy(host => host.SiloAddress.Generation);
                if (last?.Status == status)
                    return last;
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException)
            {
                // The silo that was asked is the one that went.
            }

            await Task.Delay(100);
        }

        Assert.Fail($"{silo.Name} is {last?.Status.ToString() ?? "unknown"} and not {status} after {Limit}. Its output: {silo.Output}");
        return last!;
    }

    /// <summary>Calls fresh grains until all these silos have answered.</summary>
    public async Task AnswersAsync(params SiloProcess[] silos)
    {
        var missing = silos.Select(silo => silo.Endpoint.ToString()).ToHashSet();
        var outcomes = new List<string>();
        var clock = Stopwatch.StartNew();
        while (missing.Count > 0)
        {
            Assert.True(clock.Elapsed < Limit, $"no answer from {string.Join(", ", missing)}; the calls came to:\n{Tally(outcomes)}");
            // Several at once: a call that is lost with a dead silo costs the whole wait.
            outcomes.AddRange(await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => TryCallAsync())));
            missing.ExceptWith(outcomes);
        }
    }

    private async Task<SiloProcess> StartActiveAsync(string name, (string Name, string Value)[] more)
    {
        var silo = await StartSiloAsync(name, defaultProbes: true, more: more);
        await silo.SeesAsync(silo, SiloStatus.Active, Limit);
        return silo;
    }

    /// <summary>Answers where the grain was, or how the call failed.</summary>
    private async Task<string> TryCallAsync()
    {
        try
        {
            return (await Client.GetGrain<IWhere>(Random.Shared.NextInt64()).Here().WaitAsync(TimeSpan.FromSeconds(5))).Endpoint.ToString();
        }
        catch (Exception exception) when (exception is OrleansException or TimeoutException)
        {
            await Task.Delay(50);
            return exception.ToString();
        }
    }

    private static string Tally(List<string> outcomes) =>
        string.Join('\n', outcomes.CountBy(outcome => outcome).OrderByDescending(count => count.Value).Select(count => $"{count.Value} x {count.Key}"));

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in _silos)
            await silo.DisposeAsync();
        if (_client is IAsyncDisposable client)
            await client.DisposeAsync();
    }
}
