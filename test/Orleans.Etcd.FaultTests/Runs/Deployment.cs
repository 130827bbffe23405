using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>
/// A three-member etcd, silos in processes of their own and clients in this one, used by one run after another as a cluster
/// in production is by one day after another: what piles up shows.
/// </summary>
internal sealed class Deployment : IFaultTarget, IAsyncDisposable
{
    public const string KeyRoot = EtcdOptions.DefaultKeyPrefix + "/";
    public const int Members = 3;
    private static readonly TimeSpan StartLimit = TimeSpan.FromSeconds(60);

    // Linux sends again after twice the time of the last attempt: after a cut of a minute, up to a minute later.
    public static readonly TimeSpan SettleLimit = TimeSpan.FromMinutes(3);

    // Of the 4 s that a silo's lease has it leaves more than a third, be it frozen just before a renewal.
    private static readonly TimeSpan LongestHarmlessFreeze = TimeSpan.FromSeconds(1);

    private readonly SiloProcess[] _silos;
    private readonly ClockFile?[] _clocks;
    private readonly List<IHost> _clients = [];
    private readonly ConcurrentDictionary<int, Task> _starting = [];
    private readonly ConcurrentQueue<string> _notes = [];
    private readonly ConcurrentDictionary<string, long> _attacked = [];
    private readonly ConcurrentDictionary<string, long> _mayDie = [];
    private readonly long[] _frozen;
    private readonly ConcurrentBag<(string Silo, long At)> _thawed = [];
    private readonly ConcurrentQueue<(long At, long Revision)> _compactions = [];

    private Deployment(IMemberNetwork network, EtcdCluster etcd, int silos)
    {
        (Network, Etcd) = (network, etcd);
        network.Started(etcd);
        _silos = new SiloProcess[silos];
        _frozen = new long[silos];
        _clocks = [.. Enumerable.Range(0, silos).Select(silo => silo == Schedule.SiloWithAClock && ClockFile.IsAvailable ? new ClockFile() : null)];
    }

    public IMemberNetwork Network { get; }

    public EtcdCluster Etcd { get; }

    /// <summary>The service's and the cluster's id.</summary>
    public string Id { get; } = $"faults-{Guid.NewGuid():N}";

    public IReadOnlyList<SiloProcess> Silos => _silos;

    public IReadOnlyList<IClusterClient> Clients => [.. _clients.Select(client => client.Services.GetRequiredService<IClusterClient>())];

    /// <summary>What is recorded now; history before it may be compacted.</summary>
    public ReferenceLog? Log { get; set; }

    /// <summary>Up to where etcd has forgotten its history.</summary>
    public long Compacted => CompactedBy(long.MaxValue);

    /// <summary>Silos, by address, that a fault of this run killed or froze, and when: from then on others may take them for dead.</summary>
    public IReadOnlyDictionary<string, long> Attacked => _attacked;

    /// <summary>Those of them that others may declare dead, and since when: killed, or frozen for so long that their leases may go.</summary>
    public IReadOnlyDictionary<string, long> MayDie => _mayDie;

    /// <param name="version">Of etcd.</param>
    /// <param name="silos">How many.</param>
    /// <param name="onLoopback">Whether proxies are to be used though namespaces could be had.</param>
    public static async Task<Deployment> StartAsync(string version, int silos, bool onLoopback)
    {
        var (network, problem) = onLoopback ? (null, "asked for") : await NamespaceNetwork.TryCreateAsync(Members);
        IMemberNetwork used = network is not null ? network : new LoopbackNetwork(Members);
        try
        {
            // Elections as quick as the default allows; snapshots often enough for a member that was away to need one.
            var options = new EtcdServerOptions { BinaryPath = EtcdBinary.Find(version), ExtraArguments = { "--snapshot-count=2000" } };
            var etcd = await EtcdCluster.StartAsync(options, () => used.Places);
            var deployment = new Deployment(used, etcd, silos);
            if (problem is not null)
                deployment.Note($"members on loopback: {problem}");
            try
            {
                await deployment.StartHostsAsync();
                return deployment;
            }
            catch
            {
                await deployment.DisposeAsync();
                throw;
            }
        }
        catch
        {
            await used.DisposeAsync();
            throw;
        }
    }

    /// <summary>A connection of its own, as another process would have.</summary>
    public EtcdConnection Connect() => Connections.Connect([.. Etcd.Endpoints]);

    /// <summary>Takes what was noted since the last time.</summary>
    public IReadOnlyList<string> TakeNotes()
    {
        var notes = new List<string>();
        while (_notes.TryDequeue(out var note))
            notes.Add(note);
        return notes;
    }

    /// <summary>Begins a run: what was done in those before it excuses nothing.</summary>
    public void Begin(ReferenceLog log)
    {
        Log = log;
        _compactions.Clear();
        _attacked.Clear();
        _mayDie.Clear();
        _thawed.Clear();
        _notes.Clear();
        foreach (var silo in _silos)
            silo.Forget();
    }

    /// <summary>When silos that stood still went on: until then they could not be told anything.</summary>
    public IReadOnlyCollection<(string Silo, long At)> Thawed => _thawed;

    public void Note(string what) => _notes.Enqueue(what);

    public async Task<int> GetLeaderAsync()
    {
        var leader = await Etcd.GetLeaderAsync();
        return Etcd.Members.TakeWhile(member => member != leader).Count();
    }

    public Task StartMemberAsync(int member)
    {
        // It does not answer before there is a quorum, which may take the end of another fault.
        _starting[member] = Etcd.Members[member].IsRunning ? Task.CompletedTask : Etcd.Members[member].RestartAsync();
        return Task.CompletedTask;
    }

    /// <summary>Waits until all members run, and there is a quorum.</summary>
    public async Task WholeAsync()
    {
        for (var member = 0; member < Members; member++)
        {
            if (_starting.TryRemove(member, out var start))
                await start;
            if (!Etcd.Members[member].IsRunning)
                await Etcd.Members[member].RestartAsync();
        }

        await Etcd.GetLeaderAsync();
    }

    /// <summary>
    /// Waits until every member follows, whichever of them leads. One whose packets were dropped waits for what is sent again, for as
    /// long as it was away and more; and two that do not lead have nothing to say to each other, so that a connection between them
    /// that died in a long cut is only found when one of them is to be elected (seen: no leader for 10 s after the third was killed).
    /// </summary>
    /// <param name="last">Which is to lead in the end.</param>
    public async Task SettledAsync(int last)
    {
        await WholeAsync();
        foreach (var member in Enumerable.Range(1, Members).Select(next => Etcd.Members[(last + next) % Members]))
        {
            for (var until = MonotonicClock.Now + SettleLimit.Micros(); ;)
            {
                try
                {
                    var leader = await Etcd.GetLeaderAsync();
                    if (leader != member)
                        await leader.MoveLeaderAsync(member);
                    await Task.WhenAll(Etcd.Members.Select(one => one.GetRevisionAsync()));
                    if (await Etcd.GetLeaderAsync() == member)
                        break;
                }
                catch (Exception exception) when (exception is TimeoutException or EtcdServerException && MonotonicClock.Now < until)
                {
                    await Task.Delay(100);
                }
            }
        }
    }

    /// <summary>Up to where it may have forgotten it by a moment.</summary>
    public long CompactedBy(long moment) => _compactions.Where(compaction => compaction.At <= moment).Select(compaction => compaction.Revision).DefaultIfEmpty().Max();

    public async Task CompactAsync()
    {
        if (Log is not { } log)
            return;
        var leader = await Etcd.GetLeaderAsync();
        var revision = log.Known;
        // Before it is answered: etcd may do it and not come to say so.
        _compactions.Enqueue((MonotonicClock.Now, revision));
        await leader.CompactAsync(revision);
        Note($"compacted at {revision}");
    }

    public async Task RevokeLeaseAsync(int which)
    {
        var leader = await Etcd.GetLeaderAsync();
        var leases = which % 2 == 0 ? await leader.GetLeasesAsync() : await SessionsAsync();
        if (leases.Count == 0)
            throw new InvalidOperationException("There is no lease.");
        Note($"revoked lease {leases[which % leases.Count]:x}");
        await leader.RevokeLeaseAsync(leases[which % leases.Count]);
    }

    /// <summary>The leases that locks hang on.</summary>
    private async Task<IReadOnlyList<long>> SessionsAsync()
    {
        await using var etcd = Connect();
        var states = await etcd.RangeAsync(Txn.Range($"{KeyRoot}{Id}/sessions/"));
        return [.. states.Kvs.Select(state => state.Lease).Distinct()];
    }

    public ClockFile ClockOf(int silo) => _clocks[silo]!;

    public async Task KillSiloAsync(int silo)
    {
        _attacked.TryAdd(Address(silo), MonotonicClock.Now);
        _mayDie.TryAdd(Address(silo), MonotonicClock.Now);
        Note($"killed silo {Address(silo)}");
        await _silos[silo].KillAsync();
        ClockFile.RemoveLeftovers(_silos[silo].Id);
    }

    public async Task ReplaceSiloAsync(int silo)
    {
        if (!_silos[silo].HasExited)
            return;
        var ended = _silos[silo];
        _silos[silo] = await StartSiloAsync(silo);
        await ended.DisposeAsync();
    }

    public void FreezeSilo(int silo)
    {
        _frozen[silo] = MonotonicClock.Now;
        _attacked.TryAdd(Address(silo), _frozen[silo]);
        Note($"froze silo {Address(silo)}");
        _silos[silo].Freeze();
    }

    /// <summary>One that was declared dead meanwhile ends by itself: it is replaced before the quiet period is over.</summary>
    public void ThawSilo(int silo)
    {
        if (MonotonicClock.Now - _frozen[silo] > LongestHarmlessFreeze.Micros())
            _mayDie.TryAdd(Address(silo), _frozen[silo]);
        if (_silos[silo].HasExited)
            return;
        _silos[silo].Thaw();
        _thawed.Add((Address(silo), MonotonicClock.Now));
    }

    /// <summary>Replaces the silos that have ended; answers those that nobody attacked.</summary>
    private async Task<IReadOnlyList<string>> ReplaceEndedAsync()
    {
        var unexpected = new List<string>();
        for (var silo = 0; silo < _silos.Length; silo++)
        {
            if (!_silos[silo].HasExited)
                continue;
            if (!_mayDie.ContainsKey(Address(silo)))
                unexpected.Add($"silo {Address(silo)} ended by itself: {Tail(_silos[silo].Output)}");
            await ReplaceSiloAsync(silo);
        }

        return unexpected;
    }

    /// <summary>
    /// Waits until each silo sees exactly these as active; answers who does not, and who ended without anybody having attacked it.
    /// Whoever ends meanwhile, having been declared dead for what was done to it, is replaced.
    /// </summary>
    public async Task<IReadOnlyList<string>> AgreeAsync(TimeSpan within)
    {
        for (var until = MonotonicClock.Now + within.Micros(); ; await Task.Delay(50))
        {
            if (await ReplaceEndedAsync() is { Count: > 0 } unexpected)
                return unexpected;
            var expected = _silos.Select((_, silo) => Address(silo)).Order(StringComparer.Ordinal).ToArray();
            var others = _silos.Where(silo => !expected.SequenceEqual(silo.ActiveSilos().Order(StringComparer.Ordinal))).ToArray();
            if (others.Length == 0)
                return [];
            if (MonotonicClock.Now > until)
                return [.. others.Select(silo => $"after {within.TotalSeconds:0} s {silo.Name} ({silo.Endpoint}) sees {string.Join(' ', silo.ActiveSilos())} and not {string.Join(' ', expected)}")];
        }
    }

    /// <summary>Waits until clients and silos reach each other.</summary>
    public Task ReachAsync() => Reach.EachAsync(Clients, [.. _silos.Select(silo => silo.Address()).OfType<SiloAddress>()]);

    public async ValueTask DisposeAsync()
    {
        // Whatever becomes of one, the others are not left behind.
        var parts = _clients.Cast<IAsyncDisposable>().Concat(_silos.Where(silo => silo is not null)).Append(Etcd).Append(Network);
        List<Exception> failures = [];
        foreach (var part in parts)
        {
            try
            {
                await part.DisposeAsync();
            }
            catch (Exception exception)
            {
                failures.Add(exception);
            }
        }

        foreach (var clock in _clocks)
            clock?.Dispose();
        if (failures.Count > 0)
            throw new AggregateException(failures);
    }

    private static string Tail(string text) => text[Math.Max(0, text.Length - 2_000)..];

    private string Address(int silo) => _silos[silo].Endpoint.ToString();

    private async Task StartHostsAsync()
    {
        for (var silo = 0; silo < _silos.Length; silo++)
            _silos[silo] = await StartSiloAsync(silo);
        if (await AgreeAsync(StartLimit) is { Count: > 0 } others)
            throw new InvalidOperationException(string.Join("\n", others) + _silos[0].Output);
        for (var client = 0; client < 2; client++)
            _clients.Add(await StartClientAsync());
    }

    private Task<SiloProcess> StartSiloAsync(int silo)
    {
        var settings = new Dictionary<string, string>
        {
            ["Endpoints"] = string.Join(',', Etcd.Endpoints),
            ["ClusterId"] = Id,
            ["DefaultProbes"] = "true",
            ["Locks:SessionTtl"] = SessionTtl.ToString(),
            // Often, so that a clock that is ahead for a moment is noticed by what looks for grains to be collected.
            ["Collection:CollectionQuantum"] = CollectionQuantum.ToString(),
        };
        return SiloProcess.StartAsync($"silo{silo}", settings, LoopbackPort.Take(), LoopbackPort.Take(), _clocks[silo]?.Variables);
    }

    /// <summary>How often silos look for grains to be collected.</summary>
    public static readonly TimeSpan CollectionQuantum = TimeSpan.FromSeconds(2);

    /// <summary>Short, so that holders are seen to lose.</summary>
    public static readonly TimeSpan SessionTtl = TimeSpan.FromSeconds(5);

    private async Task<IHost> StartClientAsync()
    {
        // Not CreateApplicationBuilder, which watches the working directory.
        var builder = new HostApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Logging.ClearProviders();
        builder.UseOrleansClient(client => client
            .UseEtcdClustering(string.Join(',', Etcd.Endpoints))
            .AddEtcdLocks(options => options.SessionTtl = SessionTtl)
            .Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = Id));
        var host = builder.Build();
        await host.StartAsync();
        return host;
    }
}
