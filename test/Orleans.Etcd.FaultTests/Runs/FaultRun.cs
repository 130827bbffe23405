using System.Collections.Concurrent;
using System.Globalization;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Workloads;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>
/// One run: all workloads begin, faults come and are healed, a quiet time follows in which everything has to recover, and what
/// was recorded is judged.
/// </summary>
internal sealed class FaultRun
{
    /// <summary>Within this everything works again and everyone agrees, once all faults are over.</summary>
    public static readonly TimeSpan RecoveryLimit = TimeSpan.FromSeconds(5);

    /// <summary>
    /// The same where a silo was killed or stood still. What it held goes with its lease, which every change of the leader lets live
    /// for another TTL and more (13 s seen with a TTL of 4 s). A call that was lost with it goes on after Orleans' response timeout of
    /// 30 s, and so does the start of a silo that asked it for something before it knew that it was dead.
    /// </summary>
    public static readonly TimeSpan RecoveryLimitOfAttackedSilos = TimeSpan.FromSeconds(45);

    private const int KeptOfALog = 4 << 20;
    private static readonly TimeSpan Warmth = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan WarmUpLimit = TimeSpan.FromSeconds(60);

    /// <summary>After this, counted from the last fault, a run ends at the earliest: what only shows later belongs to its own seed.</summary>
    private static readonly TimeSpan Quiet = TimeSpan.FromSeconds(7);
    private static readonly TimeSpan CatchUpLimit = TimeSpan.FromSeconds(20);

    /// <summary>Within this workloads begin and end: what takes longer hangs.</summary>
    private static readonly TimeSpan LongestStep = TimeSpan.FromMinutes(2);

    private readonly Deployment _deployment;
    private readonly int _seed;
    private readonly Schedule _schedule;
    private readonly Findings _findings = new();
    private readonly ConcurrentQueue<string> _events = [];
    private readonly ConcurrentBag<(long From, long To)> _faults = [];
    private readonly ConcurrentBag<(long From, long To)> _revoking = [];
    private long _began;

    private FaultRun(Deployment deployment, int seed, Schedule schedule) => (_deployment, _seed, _schedule) = (deployment, seed, schedule);

    public static async Task<RunReport> RunAsync(Deployment deployment, int seed, Schedule schedule)
    {
        var run = new FaultRun(deployment, seed, schedule);
        return await run.RunAsync();
    }

    private async Task<RunReport> RunAsync()
    {
        // Of each lane every second seed: the faults that name a member by its number are to hit the leader now and then.
        await _deployment.SettledAsync(_seed / 2 % Deployment.Members);
        foreach (var since in await _deployment.AgreeAsync(RecoveryLimit))
            _findings.Violated($"since the run before: {since}");
        await _deployment.ReachAsync();
        await using var probe = new EtcdProbe(_deployment.Etcd.Members);
        await using var log = await ReferenceLog.StartAsync(_deployment.Etcd.Endpoints, Deployment.KeyRoot);
        _deployment.Begin(log);
        List<Workload> workloads =
        [
            new TableWorkload(_deployment, _seed),
            new WatchWorkload(_deployment, _seed),
            new LeaseWorkload(_deployment, _seed),
            LockWorkload.Locks(_deployment, _seed),
            LockWorkload.Semaphores(_deployment, _seed),
            LockWorkload.ReadersAndWriters(_deployment, _seed),
            .. LockWorkload.HeldForLong(_deployment, _seed),
            new EachPlaceWorkload(_deployment, _seed),
            new ConfigWorkload(_deployment, _seed),
            new ClusterWorkload(_deployment, _seed),
        ];
        RunFacts? facts = null;
        try
        {
            // All is there and nothing has been done to it: what does not work now was broken by the run before, or never works.
            if (await TryAsync(() => Task.WhenAll(workloads.Select(workload => workload.StartAsync())).WaitAsync(LongestStep)) is { } unstarted)
                _findings.Violated($"not all could be begun: {unstarted}");
            else if (await TryAsync(() => WarmUpAsync(workloads)) is { } cold)
                _findings.Violated(cold);
            using var stalls = new StallWatch();
            _began = MonotonicClock.Now;
            await Task.Delay(Warmth);
            await MakeFaultsAsync();
            Note("all faults are over");
            // From here on, be the third member still on its way.
            await HealedAsync("etcd", () => probe.AnswersAsync(Deployment.SettleLimit));
            Note("healed");
            var healed = MonotonicClock.Now;
            await Task.WhenAll(HealedAsync("members", _deployment.WholeAsync), RecoverAsync(workloads, healed));
            Note("recovered");
            var ended = MonotonicClock.Now;
            _findings.Count("longest time in which etcd itself answered nobody, ms", (long)probe.Answers.LongestOutage(_began, ended).TotalMilliseconds);
            _findings.Count("longest stall of the test process, ms", (long)stalls.Longest.TotalMilliseconds);
            foreach (var stopping in workloads.Select(workload => (workload, Task: workload.StopAsync())).ToArray())
                await CheckedAsync(stopping.workload, () => stopping.Task);
            Note("stopped");
            if (await log.CatchUpAsync(CatchUpLimit) is { } problem)
                _findings.Undecided(problem);
            Note("recorded");
            facts = Facts(log, probe, healed, ended);
            foreach (var workload in workloads)
                Judge(workload, facts);
            Note("judged");
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            _findings.Undecided($"the run could not be made: {exception}");
        }

        _deployment.Log = null;
        foreach (var workload in workloads)
        {
            if (facts is not null)
                await CheckedAsync(workload, () => workload.DisposeAsync().AsTask());
            else if (await TryAsync(() => workload.DisposeAsync().AsTask()) is { } problem)
                _findings.Undecided($"{workload.History.Name} could not be ended: {problem}");
        }

        return Report(workloads, facts ?? Facts(log, probe, MonotonicClock.Now, MonotonicClock.Now));
    }

    /// <summary>What never worked cannot be seen to fail.</summary>
    private static async Task WarmUpAsync(IReadOnlyList<Workload> workloads)
    {
        History[] cold = [.. workloads.SelectMany(workload => workload.Histories)];
        for (var until = MonotonicClock.Now + WarmUpLimit.Micros(); ; await Task.Delay(50))
        {
            cold = [.. cold.Where(history => history.RecoveredAfter(0) is null)];
            // What one of them has thrown is judged when it is stopped.
            if (cold.Length == 0 || workloads.Any(workload => workload.Failure is not null))
                return;
            if (MonotonicClock.Now > until)
                throw new TimeoutException($"Not all of this had worked once within {WarmUpLimit.TotalSeconds:0} s: {string.Join(", ", cold.SelectMany(history => history.Expected))}.");
        }
    }

    /// <summary>What nobody expects to be thrown is thrown at users too.</summary>
    private async Task CheckedAsync(Workload workload, Func<Task> action)
    {
        try
        {
            await action().WaitAsync(LongestStep);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            _findings.Violated($"{workload.History.Name} threw what it should not: {exception}");
        }
    }

    /// <summary>Makes each fault at its time, and ends it at its time, whatever the others do.</summary>
    private async Task MakeFaultsAsync()
    {
        var start = MonotonicClock.Now;
        var count = 0;
        await Task.WhenAll(_schedule.Faults.Select(async fault =>
        {
            await UntilAsync(start + fault.At.Micros());
            IAsyncDisposable? healing = null;
            Note($"{fault.Fault} begins");
            var begun = MonotonicClock.Now;
            var revokes = fault.Fault.MayRevokeLiveLeases(fault.Lasts);
            // A member that is gone cannot be defragmented: the report says that this fault was none.
            var problem = await TryAsync(async () => healing = await fault.Fault.InjectAsync(_deployment));
            var made = MonotonicClock.Now;
            Count(problem is not null ? "faults that could not be made" : fault.Fault.IsOfSilo ? "faults of silos" : "faults of etcd");
            if (problem is null)
                Interlocked.Increment(ref count);
            else
                Note($"{fault.Fault}: {problem}");
            // One that was asked for and not answered may have been done.
            if (healing is null && revokes && fault.Fault is RevokeLease)
                _revoking.Add((begun, made));
            if (healing is null)
                return;
            await UntilAsync(start + (fault.At + fault.Lasts).Micros());
            Note($"{fault.Fault} ends");
            await HealedAsync($"{fault.Fault}", () => healing.DisposeAsync().AsTask());
            var ended = healing == Fault.Nothing ? made : MonotonicClock.Now;
            if (fault.Fault.DisturbsEtcd)
                _faults.Add((begun, ended));
            if (revokes)
                _revoking.Add((begun, ended));
        }).Append(UntilAsync(start + _schedule.Length.Micros())));
        if (count < _schedule.LeastFaults)
            _findings.Undecided($"only {count} of {_schedule.Faults.Count} faults could be made");

        static Task UntilAsync(long moment) => Task.Delay(TimeSpan.FromMicroseconds(Math.Max(0, moment - MonotonicClock.Now)));
    }

    private RunFacts Facts(ReferenceLog log, EtcdProbe probe, long healed, long ended) =>
        new(_schedule, probe.Answers, _began, healed, ended, log, _faults, _revoking);

    private async Task RecoverAsync(IReadOnlyList<Workload> workloads, long healed)
    {
        var limit = workloads.Max(workload => WorkChecker.Limit(_schedule, workload.AsksSilos));
        var agreeing = _deployment.AgreeAsync(limit);
        while (workloads.SelectMany(workload => workload.Histories).Any(history => history.RecoveredAfter(healed) is null) && MonotonicClock.Now < healed + (limit * 2).Micros())
            await Task.Delay(50);

        foreach (var other in await agreeing)
            _findings.Violated(other);
        await Task.Delay(TimeSpan.FromMicroseconds(Math.Max(0, healed + Quiet.Micros() - MonotonicClock.Now)));
    }

    private void Judge(Workload workload, RunFacts facts)
    {
        var succeeded = workload.History.Steps.Count(step => step.Outcome == Outcome.Ok);
        if (succeeded < workload.Enough)
            _findings.Violated($"{workload.History.Name} did too little to tell anything: {succeeded} successes");
        foreach (var history in workload.Histories)
            WorkChecker.Check(history, facts, workload.AsksSilos, _findings);
        workload.Check(_findings, facts);
    }

    private RunReport Report(IReadOnlyList<Workload> workloads, RunFacts facts) => new()
    {
        Seed = _seed,
        Schedule = _schedule.Kind.ToString(),
        AttacksSilos = _schedule.AttacksSilos,
        Version = _deployment.Etcd.Members[0].Version,
        Network = _deployment.Network.Name,
        Faults = [.. _schedule.Faults.Select(fault => fault.ToString())],
        Events = [.. _events, .. _deployment.TakeNotes()],
        Violations = _findings.Violations,
        Unknown = _findings.Unknown,
        Counts = _findings.Counts,
        Workloads = [.. workloads.SelectMany(workload => workload.Histories).Select(history => WorkloadReport.Of(history, facts))],
        Histories = [.. workloads.SelectMany(workload => workload.Histories)],
        Records = [.. workloads.SelectMany(workload => workload.Records)],
        Log = facts.Log.Under(Deployment.KeyRoot),
        Output = OutputOf(_deployment),
    };

    /// <summary>What silos and members have written, to be read while they are there.</summary>
    public static IReadOnlyDictionary<string, Func<string>> OutputOf(Deployment deployment) =>
        deployment.Silos.Select(silo => (silo.Name, Text: (Func<string>)(() => silo.Output)))
            .Concat(deployment.Etcd.Members.Select(member => (member.Name, Text: (Func<string>)(() => Tail(member.LogFile)))))
            .ToDictionary(process => process.Name, process => process.Text);

    private static string Tail(string file)
    {
        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Position = Math.Max(0, stream.Length - KeptOfALog);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    /// <summary>A fault that goes on makes whatever else is found worth nothing.</summary>
    private async Task HealedAsync(string what, Func<Task> heal)
    {
        if (await TryAsync(heal) is not { } problem)
            return;
        Note($"{what} did not heal: {problem}");
        lock (_findings)
            _findings.Undecided($"{what} did not heal: {problem}");
    }

    private void Count(string what)
    {
        lock (_findings)
            _findings.Count(what);
    }

    private static async Task<string?> TryAsync(Func<Task> action)
    {
        try
        {
            await action();
            return null;
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return $"{exception.GetType().Name} {exception.Message.Split('\n')[0]}";
        }
    }

    private void Note(string what) => _events.Enqueue(string.Create(CultureInfo.InvariantCulture, $"{(MonotonicClock.Now - _began) / 1e6:0.0} s: {what}"));
}
