using System.Collections.Concurrent;
using System.Globalization;
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

    private static readonly TimeSpan Warmth = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan CatchUpLimit = TimeSpan.FromSeconds(20);

    private readonly Deployment _deployment;
    private readonly int _seed;
    private readonly Schedule _schedule;
    private readonly Findings _findings = new();
    private readonly ConcurrentQueue<string> _events = [];
    private long _began;

    private FaultRun(Deployment deployment, int seed, Schedule schedule) => (_deployment, _seed, _schedule) = (deployment, seed, schedule);

    public static async Task<RunReport> RunAsync(Deployment deployment, int seed, Schedule schedule)
    {
        var run = new FaultRun(deployment, seed, schedule);
        return await run.RunAsync();
    }

    private async Task<RunReport> RunAsync()
    {
        await _deployment.SettledAsync();
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
            new ConfigWorkload(_deployment, _seed),
            new ClusterWorkload(_deployment, _seed),
        ];
        RunFacts? facts = null;
        try
        {
            await Task.WhenAll(workloads.Select(workload => workload.StartAsync()));
            _began = MonotonicClock.Now;
            await Task.Delay(Warmth);
            await MakeFaultsAsync();
            Note("healed");
            var healed = MonotonicClock.Now;
            await RecoverAsync(workloads, healed);
            Note("recovered");
            var ended = MonotonicClock.Now;
            foreach (var stopping in workloads.Select(workload => (workload, Task: workload.StopAsync())).ToArray())
                await CheckedAsync(stopping.workload, () => stopping.Task);
            Note("stopped");
            if (await log.CatchUpAsync(CatchUpLimit) is { } problem)
                _findings.Undecided(problem);
            Note("recorded");
            facts = new RunFacts(_schedule, log, _began, healed, ended);
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
            await CheckedAsync(workload, () => workload.DisposeAsync().AsTask());
        return Report(workloads, facts ?? new RunFacts(_schedule, log, _began, MonotonicClock.Now, MonotonicClock.Now));
    }

    /// <summary>What nobody expects to be thrown is thrown at users too.</summary>
    private async Task CheckedAsync(Workload workload, Func<Task> action)
    {
        try
        {
            await action();
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
        await Task.WhenAll(_schedule.Faults.Select(async fault =>
        {
            await UntilAsync(start + fault.At.Micros());
            IAsyncDisposable? healing = null;
            Note($"{fault.Fault} begins");
            // A member that is gone cannot be defragmented: the report says that this fault was none.
            var problem = await TryAsync(async () => healing = await fault.Fault.InjectAsync(_deployment));
            Count(problem is not null ? "faults that could not be made" : fault.Fault.IsOfSilo ? "faults of silos" : "faults of etcd");
            if (problem is not null)
                Note($"{fault.Fault}: {problem}");
            if (healing is null)
                return;
            await UntilAsync(start + (fault.At + fault.Lasts).Micros());
            Note($"{fault.Fault} ends");
            await HealedAsync($"{fault.Fault}", () => healing.DisposeAsync().AsTask());
        }).Append(UntilAsync(start + _schedule.Length.Micros())));
        Note("all members are started");
        await HealedAsync("members", _deployment.WholeAsync);

        static Task UntilAsync(long moment) => Task.Delay(TimeSpan.FromMicroseconds(Math.Max(0, moment - MonotonicClock.Now)));
    }

    private async Task RecoverAsync(IReadOnlyList<Workload> workloads, long healed)
    {
        var limit = _schedule.AttacksSilos ? RecoveryLimitOfAttackedSilos : RecoveryLimit;
        var agreeing = _deployment.AgreeAsync(limit);
        History[] histories = [.. workloads.SelectMany(workload => workload.Histories)];
        while (histories.Any(history => history.RecoveredAfter(healed) is null) && MonotonicClock.Now < healed + (limit * 2).Micros())
            await Task.Delay(50);
        foreach (var history in histories)
        {
            var recovered = history.RecoveredAfter(healed);
            if (recovered is null || recovered > limit)
                _findings.Violated($"{history.Name} worked again {(recovered is { } after ? $"{after.TotalSeconds:0.0} s" : "never")} after the last fault was over");
        }

        foreach (var other in await agreeing)
            _findings.Violated(other);
    }

    private void Judge(Workload workload, RunFacts facts)
    {
        var succeeded = workload.History.Steps.Count(step => step.Outcome == Outcome.Ok);
        if (succeeded < workload.Enough)
            _findings.Violated($"{workload.History.Name} did too little to tell anything: {succeeded} successes");
        foreach (var hung in workload.Histories.SelectMany(history => history.Hung))
            _findings.Violated($"hung: {hung}");
        foreach (var history in workload.Histories.Where(_ => facts.Schedule.Kind == ScheduleKind.Member))
        {
            if (history.LongestOutage(facts.Began, facts.Healed) is var outage && outage > RecoveryLimit)
                _findings.Violated($"{history.Name} did not work for {outage.TotalSeconds:0.0} s after one member had failed");
        }

        workload.Check(_findings, facts);
    }

    private RunReport Report(IReadOnlyList<Workload> workloads, RunFacts facts) => new()
    {
        Seed = _seed,
        Schedule = _schedule.Kind.ToString(),
        Version = _deployment.Etcd.Members[0].Version,
        Network = _deployment.Network.Name,
        Faults = [.. _schedule.Faults.Select(fault => fault.ToString())],
        Events = [.. _events, .. _deployment.TakeNotes()],
        Violations = _findings.Violations,
        Unknown = _findings.Unknown,
        Counts = _findings.Counts,
        Workloads = [.. workloads.SelectMany(workload => workload.Histories).Select(history => WorkloadReport.Of(history, facts))],
        Histories = [.. workloads.SelectMany(workload => workload.Histories)],
        Log = facts.Log.Revisions,
        Output = _deployment.Silos.ToDictionary(silo => silo.Name, silo => silo.Output),
    };

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
