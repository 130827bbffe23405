using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Contenders for one lock, in two clients and in grains of the silos.</summary>
/// <param name="deployment">Where.</param>
/// <param name="seed">Of the run.</param>
/// <param name="name">Of what is contended for, for the report.</param>
/// <param name="kinds">As what the contenders have it, in turn.</param>
internal sealed class LockWorkload(Deployment deployment, int seed, string name, HoldKind[] kinds) : Workload(name, deployment, seed)
{
    private const int ContendersOfEachClient = 2;
    private const int ContendersInSilos = 3;

    // What a contender may wait while others come first, faults included.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly History _calls = new($"{name} of clients");
    private readonly string _lock = $"{name}-{Guid.NewGuid():N}";
    private LockLedger _ledger = null!;
    private ILockLedger _reference = null!;
    private int _contenders;

    public override int Enough => 10;

    public override IReadOnlyList<History> Histories => [History, _calls];

    public static LockWorkload Locks(Deployment deployment, int seed) => new(deployment, seed, "lock", [HoldKind.Lock]);

    public static LockWorkload Semaphores(Deployment deployment, int seed) => new(deployment, seed, "semaphore", [HoldKind.Semaphore]);

    public static LockWorkload ReadersAndWriters(Deployment deployment, int seed) => new(deployment, seed, "reader-writer lock", [HoldKind.Read, HoldKind.Write, HoldKind.Read]);

    public override Task StartAsync()
    {
        var clients = Deployment.Clients;
        _ledger = new LockLedger(history: History);
        _reference = clients[0].CreateObjectReference<ILockLedger>(_ledger);
        foreach (var client in clients)
        {
            var locks = client.ServiceProvider.GetRequiredService<ILocks>();
            for (var i = 0; i < ContendersOfEachClient; i++)
            {
                var kind = NextKind();
                var process = _calls.NewProcess();
                var work = new LockWork(LockWork.Get(locks, kind, _lock), kind, _ledger);
                Loop(async random =>
                {
                    var done = await _calls.RunAsync(new Step(process, $"{kind}"), Patience, async token =>
                        new Step(process, $"{kind}") { Outcome = await work.OnceAsync(Patience, token) ? Outcome.Ok : Outcome.Unknown });
                    await PauseAsync(random, 1, 20);
                });
            }
        }

        for (var i = 0; i < ContendersInSilos; i++)
        {
            var kind = NextKind();
            Loop(async random =>
            {
                try
                {
                    // Short, so that one which is lost with its silo is not waited for too long.
                    await clients[0].GetGrain<ILockWorker>(random.NextInt64()).Work(kind, _lock, _reference, TimeSpan.FromSeconds(2));
                }
                catch (Exception exception) when (exception is OrleansException or TimeoutException)
                {
                    await PauseAsync(random, 50, 100);
                }
            });
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        HoldChecker.Check(_ledger.Holds, facts.Schedule.MayRevokeLiveLeases, findings);
        if (_ledger.Lost.Count > 0)
            findings.Violated($"{History.Name}: {_ledger.Lost.Count} of {_ledger.Acknowledged.Count} acknowledged elements are lost");
        findings.Count($"{History.Name}: times held", _ledger.Holds.Count);
        findings.Count($"{History.Name}: elements added", _ledger.Acknowledged.Count);
        findings.Count($"{History.Name}: stale tokens refused", _ledger.Refused);
        findings.Count($"{History.Name}: holders that were told of a loss", _ledger.Holds.Count(hold => hold.Told is not null));
    }

    public override ValueTask DisposeAsync()
    {
        Deployment.Clients[0].DeleteObjectReference<ILockLedger>(_reference);
        return base.DisposeAsync();
    }

    private HoldKind NextKind() => kinds[_contenders++ % kinds.Length];
}
