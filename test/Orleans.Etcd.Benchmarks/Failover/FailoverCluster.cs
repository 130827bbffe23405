using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Three silo processes and a client over one provider, all with Orleans' default options, and with the provider's where nothing else is said.</summary>
internal sealed class FailoverCluster : IAsyncDisposable
{
    public const string RedisName = "Clustering.Redis, no fsync";

    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(3);
    private static readonly TimeSpan CallEvery = TimeSpan.FromMilliseconds(50);

    private readonly Dictionary<string, string> _settings;
    private readonly List<SiloProcess> _silos = [];
    private readonly List<SiloProcess> _all = [];
    private readonly IHost _client;

    private FailoverCluster(string name, Dictionary<string, string> settings, Action<IClientBuilder> provider)
    {
        Name = name;
        var id = $"failover-{Guid.NewGuid():N}";
        _settings = new(settings) { ["ClusterId"] = id, ["DefaultProbes"] = "true" };
        _client = BenchmarkHost.Client(id, provider);
    }

    public string Name { get; }

    public static Task<FailoverCluster> OverEtcdAsync(Uri endpoint) => OverEtcdAsync("Orleans.Etcd", endpoint, []);

    /// <summary>Without pings: as where a machine is lost, and nothing refuses connections.</summary>
    public static Task<FailoverCluster> OverLeasesAsync(Uri endpoint) =>
        OverEtcdAsync("Orleans.Etcd, by leases alone", endpoint, new() { ["Liveness:PingInterval"] = TimeSpan.Zero.ToString() });

    public static Task<FailoverCluster> OverRedisAsync(string address) =>
        StartAsync(new FailoverCluster(RedisName, new() { ["Redis"] = address }, client => client.UseRedisClustering(address)));

    /// <summary>
    /// After so long kills one of the three, the one that has been there for the longest or the shortest time, lets another join, and
    /// answers in seconds: until both others see it dead, until a call to a grain that lived there succeeds, and from the
    /// start of the new silo's process until both others see it Active.
    /// </summary>
    public async Task<Failover> KillOneAsync(bool young, TimeSpan after, CancellationToken cancellationToken)
    {
        await Task.Delay(after, cancellationToken);
        var victim = young ? _silos[^1] : _silos[0];
        _silos.Remove(victim);
        var grain = await FindGrainAsync(victim, cancellationToken);
        var killed = DateTimeOffset.UtcNow;
        await victim.KillAsync();
        var call = FirstCallAsync(grain, killed, cancellationToken);
        var dead = await SeenAsync(victim, SiloStatus.Dead);
        var called = await call;

        var started = DateTimeOffset.UtcNow;
        var joining = await StartSiloAsync();
        var seen = await SeenAsync(joining, SiloStatus.Active);
        await joining.SeesAsync(joining, SiloStatus.Active, Limit);
        _silos.Add(joining);
        return new Failover((dead - killed).TotalSeconds, called.TotalSeconds, (seen - started).TotalSeconds);
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var silo in _all)
            await silo.DisposeAsync();
        await ((IAsyncDisposable)_client).DisposeAsync();
    }

    private static Task<FailoverCluster> OverEtcdAsync(string name, Uri endpoint, Dictionary<string, string> settings) =>
        StartAsync(new FailoverCluster(name, new(settings) { ["Endpoints"] = endpoint.ToString() }, client => client.UseEtcdClustering(endpoint.ToString())));

    private static async Task<FailoverCluster> StartAsync(FailoverCluster cluster)
    {
        try
        {
            for (var i = 0; i < 3; i++)
                cluster._silos.Add(await cluster.StartSiloAsync());
            foreach (var silo in cluster._silos)
                await cluster.SeenAsync(silo, SiloStatus.Active);
            await cluster._client.StartAsync();
            return cluster;
        }
        catch
        {
            await cluster.DisposeAsync();
            throw;
        }
    }

    private async Task<SiloProcess> StartSiloAsync()
    {
        var silo = await SiloProcess.StartAsync($"silo{_all.Count + 1}", _settings, LoopbackPort.Take(), LoopbackPort.Take());
        _all.Add(silo);
        return silo;
    }

    /// <summary>When the last of the silos that are left saw it.</summary>
    private async Task<DateTimeOffset> SeenAsync(SiloProcess silo, SiloStatus status)
    {
        var seen = await Task.WhenAll(_silos.Select(other => other.SeesAsync(silo, status, Limit)));
        return seen.Max();
    }

    private async Task<IWhere> FindGrainAsync(SiloProcess silo, CancellationToken cancellationToken)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Limit;)
        {
            var grain = _client.Services.GetRequiredService<IClusterClient>().GetGrain<IWhere>(Random.Shared.NextInt64());
            if ((await grain.Here().WaitAsync(cancellationToken)).Endpoint.Equals(silo.Endpoint))
                return grain;
        }

        throw new TimeoutException($"No grain came to {silo.Name}.");
    }

    /// <summary>Calls again and again, as callers do that do not wait for each other; answers when the first was answered.</summary>
    private static async Task<TimeSpan> FirstCallAsync(IWhere grain, DateTimeOffset from, CancellationToken cancellationToken)
    {
        var first = new TaskCompletionSource<TimeSpan>(TaskCreationOptions.RunContinuationsAsynchronously);
        async Task CallAsync()
        {
            try
            {
                await grain.Here();
                first.TrySetResult(DateTimeOffset.UtcNow - from);
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException)
            {
                // It went with the dead silo.
            }
            catch (Exception exception)
            {
                first.TrySetException(exception);
            }
        }

        for (var clock = Stopwatch.StartNew(); !first.Task.IsCompleted;)
        {
            if (clock.Elapsed > Limit)
                throw new TimeoutException($"No call was answered within {Limit}.");
            _ = CallAsync();
            await Task.WhenAny(first.Task, Task.Delay(CallEvery, cancellationToken));
            cancellationToken.ThrowIfCancellationRequested();
        }

        return await first.Task;
    }
}

/// <summary>Seconds.</summary>
internal sealed record Failover(double Dead, double Call, double Join);
