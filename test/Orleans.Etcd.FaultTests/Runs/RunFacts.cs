using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>What a run was, and when.</summary>
/// <param name="Schedule">Its faults.</param>
/// <param name="Etcd">When etcd itself answered.</param>
/// <param name="Began">When the workloads had begun.</param>
/// <param name="Healed">When all faults were over, and etcd answered again what takes a quorum.</param>
/// <param name="Ended">When the workloads were asked to end.</param>
internal record RunTimes(Schedule Schedule, History Etcd, long Began, long Healed, long Ended)
{
    // etcd's election timeout is 1 s, to which as much again is added by chance; where votes are split there is another.
    private static readonly TimeSpan Election = TimeSpan.FromSeconds(2);

    /// <summary>A limit, and as much more as etcd itself was without an answer within this span for longer than one election takes.</summary>
    public TimeSpan Beyond(TimeSpan limit, long from, long to) => Etcd.LongestOutage(from, to) is var away && away > Election ? limit + away - Election : limit;

    /// <summary>From when on nothing is excused by a fault any more.</summary>
    public long CalmFrom => Schedule.Kind == ScheduleKind.Control ? Began : Healed + FaultRun.RecoveryLimit.Micros();

    /// <summary>How old at most what is answered from memory may be at a moment; null where that is not judged.</summary>
    public TimeSpan? OldestAt(long moment) =>
        moment >= CalmFrom ? Beyond(FaultRun.RecoveryLimit, Schedule.Kind == ScheduleKind.Control ? Began : Healed, Ended)
        : Schedule.Kind == ScheduleKind.Member && moment >= Began ? Beyond(FaultRun.RecoveryLimit, Began, CalmFrom)
        : null;
}

/// <summary>What is known of a run when it is judged.</summary>
/// <param name="Schedule">Its faults.</param>
/// <param name="Etcd">When etcd itself answered.</param>
/// <param name="Began">When the workloads had begun.</param>
/// <param name="Healed">When all faults were over, and etcd answered again what takes a quorum.</param>
/// <param name="Ended">When the workloads were asked to end.</param>
/// <param name="Log">What etcd did.</param>
/// <param name="Faults">From when to when there was one that may make etcd answer late.</param>
/// <param name="Revoking">From when to when there was one that may make etcd revoke a lease that is being renewed.</param>
internal sealed record RunFacts(Schedule Schedule, History Etcd, long Began, long Healed, long Ended, ReferenceLog Log, IReadOnlyCollection<(long From, long To)> Faults, IReadOnlyCollection<(long From, long To)> Revoking)
    : RunTimes(Schedule, Etcd, Began, Healed, Ended)
{
    // The longest that a workload has. What a leader believed to be over when it stood still it says by then, or the lease was renewed.
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(8);

    /// <summary>Whether etcd may itself have revoked at a moment a lease that was being renewed.</summary>
    public bool MayRevoke(long moment) => Revoking.Any(fault => fault.From <= moment && moment <= fault.To + Ttl.Micros());

    /// <summary>Whether something was away at a moment, or just after it, or just before so that it was still being recovered from.</summary>
    public bool IsDisturbed(long moment) =>
        Faults.Any(fault => fault.From <= moment + HoldChecker.RevokedToldWithin.Micros() && moment <= fault.To + FaultRun.RecoveryLimit.Micros());
}

/// <summary>What the checkers found.</summary>
internal sealed class Findings
{
    private readonly List<string> _violations = [];
    private readonly List<string> _unknown = [];
    private readonly SortedDictionary<string, long> _counts = new(StringComparer.Ordinal);

    /// <summary>Invariants that do not hold.</summary>
    public IReadOnlyList<string> Violations => _violations;

    /// <summary>What could not be judged.</summary>
    public IReadOnlyList<string> Unknown => _unknown;

    /// <summary>What is counted and not judged.</summary>
    public IReadOnlyDictionary<string, long> Counts => _counts;

    public void Violated(string what) => _violations.Add(what);

    public void Undecided(string what) => _unknown.Add(what);

    public void Count(string what, long by = 1) => _counts[what] = _counts.GetValueOrDefault(what) + by;
}
