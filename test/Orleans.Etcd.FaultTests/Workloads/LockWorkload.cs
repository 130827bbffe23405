using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Contenders for one lock, in two clients and in grains of the silos.</summary>
/// <param name="deployment">Where.</param>
/// <param name="seed">Of the run.</param>
/// <param name="name">Of what is contended for, for the report.</param>
/// <param name="room">Where the keys of its kind are.</param>
/// <param name="kinds">As what the contenders have it, in turn.</param>
/// <param name="longest">For how long it is held at most, where that is not as short as may be: then leases are lost while it is.</param>
internal sealed class LockWorkload(Deployment deployment, int seed, string name, string room, HoldKind[] kinds, TimeSpan longest = default) : Workload(name, deployment, seed)
{
    private const int ContendersOfEachClient = 2;
    private const int ContendersInSilos = 3;

    // A holder whose lease is gone believes in it for as long as its session's TTL at most, while etcd is away: this is longer.
    private static readonly TimeSpan Longest = Deployment.SessionTtl + TimeSpan.FromSeconds(2);

    // What a contender may wait while others come first, faults included.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly History _calls = new($"{name} of clients");
    private readonly string _lock = $"{name}-{Guid.NewGuid():N}";
    private LockLedger? _ledger;
    private EtcdConnection? _etcd;
    private IReadOnlyCollection<int> _lost = [];
    private ILockLedger? _reference;
    private int _contenders;

    private bool IsHeldForLong => longest > TimeSpan.Zero;

    // What is in etcd is read, by two calls, and written, which take as long as a call may; waits and releases are seen to by those who work.
    private TimeSpan Limit => Patience + longest + (IsHeldForLong ? CallLimit * 3 : TimeSpan.Zero);

    public override int Enough => IsHeldForLong ? 2 : 10;

    public override IReadOnlyList<History> Histories => [History, _calls];

    public override IEnumerable<(string Name, IEnumerable<object> Records)> Records => [($"{History.Name} holds", _ledger?.Holds ?? [])];

    public static LockWorkload Locks(Deployment deployment, int seed) => new(deployment, seed, "lock", "locks", [HoldKind.Lock]);

    public static LockWorkload Semaphores(Deployment deployment, int seed) => new(deployment, seed, "semaphore", "semaphores", [HoldKind.Semaphore]);

    public static LockWorkload ReadersAndWriters(Deployment deployment, int seed) => new(deployment, seed, "reader-writer lock", "rwlocks", [HoldKind.Read, HoldKind.Write, HoldKind.Read]);

    /// <summary>Of each kind one that is held for long.</summary>
    public static IEnumerable<LockWorkload> HeldForLong(Deployment deployment, int seed) =>
    [
        new(deployment, seed, "lock held for long", "locks", [HoldKind.Lock], Longest),
        new(deployment, seed, "semaphore held for long", "semaphores", [HoldKind.Semaphore], Longest),
        new(deployment, seed, "reader-writer lock held for long", "rwlocks", [HoldKind.Read, HoldKind.Write, HoldKind.Read], Longest),
    ];

    public override Task StartAsync()
    {
        var clients = Deployment.Clients;
        _etcd = Deployment.Connect();
        // What is behind a lock that is held for long is in etcd, behind the fence that the library offers, and which fits no readers.
        _ledger = IsHeldForLong && kinds is [HoldKind.Lock] ? new EtcdLedger(_etcd, _lock, $"{Deployment.KeyRoot}{_lock}", History, _calls) : new LockLedger(history: History);
        _reference = clients[0].CreateObjectReference<ILockLedger>(_ledger);
        foreach (var (client, number) in clients.Select((client, number) => (client, number)))
        {
            var locks = client.ServiceProvider.GetRequiredService<ILocks>();
            for (var i = 0; i < ContendersOfEachClient; i++)
            {
                var kind = NextKind();
                var process = _calls.NewProcess();
                Expect(kind);
                var work = new LockWork(LockWork.Get(locks, kind, _lock), kind, _ledger, $"client {number}", longest);
                Loop(async random =>
                {
                    await _calls.RunAsync(new Step(process, $"{kind} in client {number}"), Limit, async _ =>
                        new Step(process, $"{kind} in client {number}") { Outcome = await work.OnceAsync(Patience, Stopping) ? Outcome.Ok : Outcome.Unknown });
                    await PauseAsync(random, 20, 150);
                });
            }
        }

        for (var i = 0; i < ContendersInSilos; i++)
        {
            var kind = NextKind();
            var step = new Step(_calls.NewProcess(), $"{kind} in a silo");
            Expect(kind);
            Loop(async random =>
            {
                var done = await _calls.RunAsync(step, GrainCallLimit, async _ =>
                {
                    // Short, so that one which is lost with its silo is not waited for too long.
                    await clients[0].GetGrain<ILockWorker>(random.NextInt64()).Work(kind, _lock, _reference, TimeSpan.FromSeconds(2), longest);
                    return step;
                });
                if (done.Outcome != Outcome.Ok)
                    await PauseAsync(random, 50, 100);
            });
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var ledger = _ledger!;
        var taken = Taken(facts.Log.Under(EtcdKeys.Lock(Configuration.EtcdOptions.DefaultKeyPrefix, Deployment.Id, room, _lock)), facts.Log.Under($"{Deployment.KeyRoot}{Deployment.Id}/sessions/"));
        HoldChecker.Check(ledger.Holds, taken, facts.MayRevoke, findings, Deployment.Thawed, at => facts.IsDisturbed(at) ? Deployment.SessionTtl : HoldChecker.RevokedToldWithin);
        if (_lost.Count > 0)
            findings.Violated($"{History.Name}: {_lost.Count} of {ledger.Acknowledged.Count} acknowledged elements are lost");
        if (ledger is EtcdLedger fenced)
            CheckFence(fenced, findings, facts);
        // A process that stands still cannot stop waiting.
        foreach (var (_, where, by) in ledger.Overruns.Where(one => one.At >= facts.Began && !Deployment.Attacked.ContainsKey(one.Where)))
            findings.Violated($"hung: {History.Name} in {where} was waited for {by.TotalSeconds:0.0} s longer than asked");
        // It puts up with failures for longer than anybody waits here.
        foreach (var (_, where, problem) in ledger.Failures.Where(one => one.At >= facts.Began && !Deployment.Attacked.ContainsKey(one.Where)))
            findings.Violated($"{History.Name} in {where} could not be had, and its wait was not over: {problem}");
        if (facts.Schedule.Kind == ScheduleKind.Control)
        {
            HoldChecker.CheckUndisturbed(ledger.Holds, findings);
            if (ledger.Refused > 0)
                findings.Violated($"{History.Name}: {ledger.Refused} tokens were refused without any fault");
        }

        findings.Count($"{History.Name}: times held", ledger.Holds.Count);
        findings.Count($"{History.Name}: waits that failed", ledger.Failures.Count);
        findings.Count($"{History.Name}: elements added", ledger.Acknowledged.Count);
        findings.Count($"{History.Name}: stale tokens refused", ledger.Refused);
        findings.Count($"{History.Name}: holders that were told of a loss", ledger.Holds.Count(hold => hold.Told is not null));
    }

    private void CheckFence(EtcdLedger ledger, Findings findings, RunFacts facts)
    {
        var sets = facts.Log.Under($"{Deployment.KeyRoot}{_lock}");
        foreach (var stale in EtcdLedger.Check(facts.Log.Under(EtcdKeys.Fence(Configuration.EtcdOptions.DefaultKeyPrefix, _lock)), sets))
            findings.Violated($"{History.Name}: {stale}");
        foreach (var token in ledger.Accepted)
            findings.Violated($"{History.Name}: a write of token {token} was made after the fence had been raised");
        if (ledger.Stale == 0 && facts.Schedule.Kind == ScheduleKind.Control)
            findings.Violated($"{History.Name}: nothing stale was tried");
        findings.Count($"{History.Name}: late writes of earlier holders tried", ledger.Stale);
        findings.Count($"{History.Name}: fenced writes applied", sets.Revisions.Count);
    }

    public override async Task StopAsync()
    {
        await base.StopAsync();
        _lost = await _ledger!.LostAsync();
    }

    /// <summary>
    /// Which tokens' keys went together with their sessions, and when that was heard of: not their holders let them go, but etcd
    /// ended the lease.
    /// </summary>
    public static IReadOnlyDictionary<long, long> Taken(LogPart locks, LogPart sessions)
    {
        var ended = sessions.Revisions.SelectMany(revision => revision.Changes.Where(change => change.Value is null && change.Key.EndsWith("/state", StringComparison.Ordinal))
            .Select(change => (Session: change.Key[..change.Key.IndexOf('/', StringComparison.Ordinal)], revision.Number))).ToHashSet();
        var created = locks.Initial.Keys.ToDictionary(key => key, _ => 0L);
        var taken = new Dictionary<long, long>();
        foreach (var revision in locks.Revisions)
        {
            foreach (var (key, value) in revision.Changes)
            {
                if (value is not null)
                    created.TryAdd(key, revision.Number);
                else if (created.Remove(key, out var token) && ended.Contains((SessionOf(key), revision.Number)))
                    taken[token] = revision.Heard;
            }
        }

        return taken;
    }

    private static string SessionOf(string key) => LockLayout.EntryOf(key) is var entry ? entry[..entry.IndexOf('-', StringComparison.Ordinal)] : "";

    public override async ValueTask DisposeAsync()
    {
        if (_reference is not null)
            Deployment.Clients[0].DeleteObjectReference<ILockLedger>(_reference);
        if (_etcd is not null)
        {
            var fence = EtcdKeys.Fence(Configuration.EtcdOptions.DefaultKeyPrefix, _lock);
            await RemoveAsync(_etcd, Txn.Delete(Connections.Bytes($"{Deployment.KeyRoot}{_lock}")), Txn.Delete(Connections.Bytes(fence)));
            await _etcd.DisposeAsync();
        }

        await base.DisposeAsync();
    }

    // That it goes from hand to hand, and not how soon it comes to one of them; and where it is held for long that says nothing.
    private void Expect(HoldKind kind)
    {
        if (!IsHeldForLong)
            History.Expect(LockLedger.Capability(kind));
    }

    private HoldKind NextKind() => kinds[_contenders++ % kinds.Length];
}
