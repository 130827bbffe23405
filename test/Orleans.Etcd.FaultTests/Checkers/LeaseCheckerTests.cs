using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checker of leases on histories written by hand.</summary>
public sealed class LeaseCheckerTests
{
    private const long Second = 1_000_000;
    private const long Gone = 20 * Second;
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(6);

    [Fact]
    public void OwnerToldBefore_IsAccepted()
    {
        var findings = Check(Lost(Gone - 1), mayRevoke: false);
        Assert.Empty(findings.Violations);
        Assert.Equal((1, 0), (findings.Counts["leases lost"], findings.Counts["leases kept"]));
    }

    [Theory]
    [InlineData(Gone + 1)]
    [InlineData(null)]
    public void OwnerToldAfter_OrNever_IsFound(long? told) => Assert.Single(Check(Lost(told), mayRevoke: false).Violations);

    /// <summary>A lease that is renewed and that etcd itself takes away: told by the next renewal, or by its TTL at the latest.</summary>
    [Theory]
    [InlineData(3, "live leases taken away by etcd, told by the next renewal")]
    [InlineData(6, "live leases taken away by etcd, told by the clock")]
    [InlineData(7, null)]
    public void LeaseThatEtcdMayTakeAway_IsCounted_UnlessItsOwnerIsToldAfterItsTtl(int seconds, string? counted)
    {
        var findings = Check(Lost(Gone + (seconds * Second)), mayRevoke: true);
        Assert.Equal(counted is null ? 1 : 0, findings.Violations.Count);
        if (counted is not null)
            Assert.Equal(1, findings.Counts[counted]);
    }

    [Fact]
    public void LeaseThatEtcdMayTakeAway_AndNobodyIsTold_IsFoundAfterItsTtl()
    {
        Assert.Empty(Check(Lost(null), mayRevoke: true, ended: Gone + (6 * Second)).Violations);
        Assert.Single(Check(Lost(null), mayRevoke: true, ended: Gone + (7 * Second)).Violations);
    }

    [Fact]
    public void WhatGoesOnceTheRunHasEnded_IsNotJudged() => Assert.Empty(Check(Lost(null), mayRevoke: false, ended: Gone - 1).Violations);

    [Fact]
    public void LossWithoutAnyFault_IsFound() => Assert.Single(Check(Lost(Gone - 1), mayRevoke: false, kind: ScheduleKind.Control).Violations);

    private static KeptLease Lost(long? at) => new(Ttl) { LostAt = at };

    private static Findings Check(KeptLease lease, bool mayRevoke, long ended = 60 * Second, ScheduleKind kind = ScheduleKind.Random)
    {
        var gone = new Revision(2, Gone, ImmutableSortedDictionary<string, string?>.Empty.Add("key", null).Add("of somebody else", null));
        var log = new LogPart(1, ImmutableSortedDictionary<string, string>.Empty, [gone]);
        var run = new RunTimes(new Schedule(kind, [], TimeSpan.Zero), new History("etcd itself"), 0, ended, ended);
        var findings = new Findings();
        LeaseChecker.Check(log, new Dictionary<string, KeptLease> { ["key"] = lease }, run, _ => mayRevoke, findings);
        return findings;
    }
}
