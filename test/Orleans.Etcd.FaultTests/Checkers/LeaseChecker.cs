using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>A lease that somebody keeps.</summary>
/// <param name="ttl">That was granted.</param>
internal sealed class KeptLease(TimeSpan ttl)
{
    private long _lostAt;

    public TimeSpan Ttl => ttl;

    /// <summary>When its owner was told of its loss; null where it was not.</summary>
    public long? LostAt
    {
        get => Volatile.Read(ref _lostAt) is var at and not 0 ? at : null;
        set => Volatile.Write(ref _lostAt, value ?? 0);
    }
}

/// <summary>Whether the owner of a lease is told that it is lost before the key that hangs on it is gone.</summary>
internal static class LeaseChecker
{
    /// <param name="log">What became of the keys.</param>
    /// <param name="kept">The leases, by the keys that hung on them.</param>
    /// <param name="run">What the run was, and when.</param>
    /// <param name="mayRevoke">Whether etcd may have revoked at a moment a lease that was being renewed.</param>
    /// <param name="findings">What is found.</param>
    public static void Check(LogPart log, IReadOnlyDictionary<string, KeptLease> kept, RunTimes run, Func<long, bool> mayRevoke, Findings findings)
    {
        foreach (var revision in log.Revisions.Where(revision => revision.Heard < run.Ended))
        {
            foreach (var (key, _) in revision.Changes.Where(change => change.Value is null))
            {
                if (kept.TryGetValue(key, out var lease))
                    Judge(key, lease, revision.Heard);
            }
        }

        var lost = kept.Values.Count(lease => lease.LostAt is not null);
        findings.Count("leases kept", kept.Count - lost);
        findings.Count("leases lost", lost);
        if (run.Schedule.Kind == ScheduleKind.Control && lost > 0)
            findings.Violated($"{lost} leases were lost without any fault");

        void Judge(string key, KeptLease lease, long gone)
        {
            if (lease.LostAt <= gone)
                return;
            // Whatever etcd does, its owner does not believe in it for longer than the TTL that was last granted.
            var late = TimeSpan.FromMicroseconds((lease.LostAt ?? run.Ended) - gone);
            if (mayRevoke(gone) && late <= lease.Ttl)
                findings.Count(late <= ToldWithin(lease.Ttl) ? "live leases taken away by etcd, told by the next renewal" : "live leases taken away by etcd, told by the clock");
            else
                findings.Violated($"lease {key} was gone at {gone}, and its loss was {(lease.LostAt is null ? "not " : "")}told {late.TotalMilliseconds:0.0} ms later");
        }
    }

    /// <summary>The next renewal says so, where it is answered.</summary>
    private static TimeSpan ToldWithin(TimeSpan ttl) => TimeSpan.FromSeconds(1) + (ttl / 3);
}
