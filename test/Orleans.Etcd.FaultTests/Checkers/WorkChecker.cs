using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>Whether calls end in time, and whether what is used works for as long as it has to, and again in time.</summary>
internal static class WorkChecker
{
    /// <summary>Within this everything works again.</summary>
    /// <param name="schedule">What was done.</param>
    /// <param name="asksSilos">Whether silos take part, so that it may have to wait for what one of them held when it was attacked.</param>
    public static TimeSpan Limit(Schedule schedule, bool asksSilos) =>
        schedule.AttacksSilos && asksSilos ? FaultRun.RecoveryLimitOfAttackedSilos : FaultRun.RecoveryLimit;

    public static void Check(History history, RunTimes run, bool asksSilos, Findings findings)
    {
        // A call that was lost with its silo ends by Orleans' timeout, and no other does.
        foreach (var hung in run.Schedule.AttacksSilos && asksSilos ? history.Hung : history.Hung.Concat(history.Lost))
            findings.Violated($"hung: {hung}");
        // Once all faults are over it works again in time, and goes on working.
        if (history.RecoveredAfter(run.Healed) is null)
            findings.Violated($"{history.Name} never worked again after the last fault was over");
        else if (Outage(Limit(run.Schedule, asksSilos), run.Healed, run.Ended) is { } after)
            findings.Violated($"{history.Name} did not work for {after.TotalSeconds:0.0} s after the last fault was over");
        if (run.Schedule.Kind is ScheduleKind.Member or ScheduleKind.Control && Outage(FaultRun.RecoveryLimit, run.Began, run.Healed) is { } outage)
            findings.Violated($"{history.Name} did not work for {outage.TotalSeconds:0.0} s with {(run.Schedule.Faults.Count == 0 ? "all members there" : "one member away")}");
        if (run.Schedule.Kind == ScheduleKind.Control && history.Steps.FirstOrDefault(step => step.Outcome != Outcome.Ok && step.Invoked >= run.Began && step.Ended <= run.Ended) is { } failed)
            findings.Violated($"{history.Name}: {failed.Action} failed without any fault: {failed.Error}");

        TimeSpan? Outage(TimeSpan limit, long from, long to) =>
            history.LongestOutage(from, to) is var longest && longest > run.Beyond(limit, from, to) ? longest : null;
    }
}
