using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.FaultTests.Workloads;
using Orleans.Etcd.Tests.Silo;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checker of locks on histories written by hand, times in microseconds.</summary>
public sealed class HoldCheckerTests
{
    private const string Silo = "127.0.0.1:10001";

    [Fact]
    public void OneAfterAnother_IsAccepted() => Assert.Empty(Check(false, Lock(1, 0, 10, 20), Lock(2, 5, 21, 30), Lock(3, 5, 31, 40)));

    [Fact]
    public void TwoAtOnce_AreFound() => Assert.Single(Check(false, Lock(1, 0, 10, 20), Lock(2, 5, 19, 30)));

    [Fact]
    public void LongHolder_IsSeenByEveryoneWhoCameMeanwhile() => Assert.Equal(2, Check(false, Lock(1, 0, 10, 100), Lock(2, 5, 20, 30), Lock(3, 5, 40, 50)).Count);

    [Fact]
    public void TokenThatDoesNotRise_IsFound()
    {
        Assert.Single(Check(false, Lock(2, 0, 10, 20), Lock(1, 15, 21, 30)));
        // Asked for before the other was given: either may come first.
        Assert.Empty(Check(false, Lock(2, 0, 10, 20), Lock(1, 5, 21, 30)));
    }

    [Fact]
    public void TokenGivenTwice_IsFound() => Assert.NotEmpty(Check(false, Lock(1, 0, 10, 20), Lock(1, 0, 21, 30)));

    [Fact]
    public void HolderWhoseLeaseWasTakenAway_IsCounted_UnlessItIsToldTooLate()
    {
        Hold[] holds = [Lock(1, 0, 10, 500_000) with { Told = 500_001 }, Lock(2, 5, 20, 30)];
        var findings = Findings(true, Taken(1, 15), holds);
        Assert.Empty(findings.Violations);
        Assert.Equal(1, findings.Counts.Values.Single());
        // etcd had no reason, or did not do it, or did it to the other.
        Assert.NotEmpty(Findings(false, Taken(1, 15), holds).Violations);
        Assert.Single(Check(true, holds));
        Assert.Single(Findings(true, Taken(2, 15), holds).Violations);
        Assert.NotEmpty(Findings(true, Taken(1, 15), Lock(1, 0, 10, 2_000_000), Lock(2, 5, 20, 3_000_000)).Violations);
    }

    /// <summary>Its turn had come, etcd took it away and gave it to the next, and then its holder heard of its turn.</summary>
    [Fact]
    public void HolderWhoHearsOfItsTurnWhenItIsGone_IsCounted_UnlessItIsToldTooLate()
    {
        Hold[] holds = [Lock(2, 5, 20, 900_000), Lock(1, 0, 300_000, 300_050)];
        var findings = Findings(true, Taken(1, 15), holds);
        Assert.Empty(findings.Violations);
        Assert.Equal(1, findings.Counts.Values.Single());
        Assert.NotEmpty(Findings(false, Taken(1, 15), holds).Violations);
        Assert.Single(Findings(true, Taken(2, 15), holds).Violations);
        Assert.NotEmpty(Findings(true, Taken(1, 15), Lock(2, 5, 20, 2_000_000), Lock(1, 0, 1_500_000, 1_500_050)).Violations);
    }

    [Fact]
    public void LossWithoutAFault_IsFound()
    {
        Findings findings = new();
        HoldChecker.CheckUndisturbed([Lock(1, 0, 10, 20), Lock(2, 0, 30, 40) with { Told = 35 }], findings);
        Assert.Contains("Token = 2", Assert.Single(findings.Violations), StringComparison.Ordinal);
    }

    [Fact]
    public void LossThatNobodyElseSaw_IsToldAllTheSame()
    {
        Assert.Empty(Findings(true, Taken(1, 20), Lock(1, 0, 10, 18) with { Told = 30, Ended = 2_000_000 }).Violations);
        Assert.Single(Findings(true, Taken(1, 20), Lock(1, 0, 10, 18) with { Told = 1_500_000, Ended = 2_000_000 }).Violations);
        Assert.Single(Findings(true, Taken(1, 20), Lock(1, 0, 10, 18) with { Ended = 2_000_000 }).Violations);
        Assert.Single(Findings(false, Taken(1, 20), Lock(1, 0, 10, 25) with { Told = 30 }).Violations);
        // While something is away, until the lease would have ended.
        Findings away = new();
        HoldChecker.Check([Lock(1, 0, 10, 1_500_000) with { Told = 1_500_001 }], Taken(1, 20), mayRevoke: _ => true, away, toldWithin: at => TimeSpan.FromSeconds(at < 30 ? 5 : 1));
        Assert.Empty(away.Violations);
        Assert.Single(away.Counts);
        // Its silo stood still meanwhile.
        Hold frozen = Lock(1, 0, 10, 18) with { Told = 3_100_000, Ended = 3_100_000, Where = Silo };
        Assert.Empty(Findings(true, Taken(1, 20), [(Silo, 3_000_000)], frozen).Violations);
        Assert.Single(Findings(true, Taken(1, 20), [(Silo, 2_000_000)], frozen).Violations);
        Assert.Single(Findings(true, Taken(1, 20), [("another", 3_000_000)], frozen).Violations);
    }

    /// <summary>Without a reason of etcd's own, a key goes with its lease only after its holder has been told.</summary>
    [Fact]
    public void HolderThatIsToldWhenItIsGone_IsFound_WhereEtcdHadNoReason()
    {
        var late = Lock(1, 0, 10, 18) with { Told = 30, Ended = 40 };
        Assert.Single(Findings(false, Taken(1, 20), late).Violations);
        Assert.Empty(Findings(false, Taken(1, 20), late with { Told = 19 }).Violations);
        Assert.Empty(Findings(true, Taken(1, 20), late).Violations);
        // A reason that came later is none.
        var findings = new Findings();
        HoldChecker.Check([late], Taken(1, 20), gone => gone >= 25, findings);
        Assert.Single(findings.Violations);
        // Its silo stood still until just before.
        Assert.Empty(Findings(false, Taken(1, 20), [(Silo, 29)], late with { Where = Silo }).Violations);
    }

    /// <summary>That etcd took the one away after the other had it is no excuse, however long its holder may believe in it after that.</summary>
    [Theory]
    [InlineData(500_000, 0)]
    [InlineData(3_000_000, 1)]
    public void TwoAtOnce_OfWhichOneIsTakenAwayLater_AreFound(long gone, int found)
    {
        Findings findings = new();
        HoldChecker.Check([Lock(1, 0, 10, 30) with { Told = gone + 1 }, Lock(2, 5, 20, 25)], Taken(1, gone), mayRevoke: _ => true, findings, toldWithin: _ => TimeSpan.FromSeconds(5));
        Assert.Equal(found, findings.Violations.Count);
    }

    [Fact]
    public void KeyThatWentWithItsSession_WasTaken_AndOneThatWentAloneWasLetGo()
    {
        var locks = Log(Step(2, ("a1-x", "")), Step(3, ("b2-y", "")), Step(4, ("a1-x", null)), Step(6, ("b2-y", null)));
        Assert.Equal([new(3, 6)], LockWorkload.Taken(locks, Log(Step(6, ("b2/state", null)), Step(9, ("a1/state", null)))));
    }

    [Fact]
    public void Semaphore_HasNoMoreThanItsPermits()
    {
        Hold[] holds = [.. Enumerable.Range(0, LockWork.Permits).Select(i => Hold(HoldKind.Semaphore, i + 1, 0, 10, 50))];
        Assert.Empty(Check(false, holds));
        Assert.Empty(Check(false, [.. holds, Hold(HoldKind.Semaphore, 9, 0, 51, 60)]));
        Assert.Single(Check(false, [.. holds, Hold(HoldKind.Semaphore, 9, 0, 50, 60)]));
        // One that was taken away excuses one, and not two.
        Hold[] more = [.. holds, Hold(HoldKind.Semaphore, 8, 0, 40, 60)];
        Assert.Empty(Findings(true, Taken(1, 15), more).Violations);
        Assert.Single(Findings(true, Taken(1, 15), [.. more, Hold(HoldKind.Semaphore, 9, 0, 45, 60)]).Violations);
    }

    [Fact]
    public void Readers_MayBeTogether_AndAWriterIsAlone()
    {
        Hold one = Hold(HoldKind.Read, 1, 0, 10, 20), other = one with { Token = 2, From = 15 }, writer = Hold(HoldKind.Write, 3, 0, 21, 30);
        Assert.Empty(Check(false, one, other, writer));
        Assert.NotEmpty(Check(false, one, other, writer with { From = 18 }));
        Assert.NotEmpty(Check(false, writer, one with { From = 25, Until = 40 }));
        Assert.NotEmpty(Check(false, writer, writer with { Token = 4, From = 25 }));
    }

    private static IReadOnlyList<string> Check(bool mayRevoke, params Hold[] holds) => Findings(mayRevoke, ImmutableDictionary<long, long>.Empty, holds).Violations;

    private static Findings Findings(bool mayRevoke, IReadOnlyDictionary<long, long> taken, params Hold[] holds) => Findings(mayRevoke, taken, [], holds);

    private static Findings Findings(bool mayRevoke, IReadOnlyDictionary<long, long> taken, (string Silo, long At)[] thawed, params Hold[] holds)
    {
        var findings = new Findings();
        HoldChecker.Check(holds, taken, _ => mayRevoke, findings, thawed);
        return findings;
    }

    private static Dictionary<long, long> Taken(long token, long at) => new() { [token] = at };

    private static LogPart Log(params Revision[] revisions) => new(1, ImmutableSortedDictionary<string, string>.Empty, revisions);

    private static Revision Step(long number, params (string Key, string? Value)[] changes) => new(number, number, changes.ToImmutableSortedDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal));

    private static Hold Lock(long token, long asked, long from, long until) => Hold(HoldKind.Lock, token, asked, from, until);

    private static Hold Hold(HoldKind kind, long token, long asked, long from, long until) => new(kind, token, asked, from, until, null, until, "client");
}
