using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checker of locks on histories written by hand, times in microseconds.</summary>
public sealed class HoldCheckerTests
{
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
        var findings = new Findings();
        HoldChecker.Check([Lock(1, 0, 10, 500_000), Lock(2, 5, 20, 30)], mayRevoke: true, findings);
        Assert.Empty(findings.Violations);
        Assert.Equal(1, findings.Counts.Values.Single());
        Assert.Single(Check(true, Lock(1, 0, 10, 2_000_000), Lock(2, 5, 20, 3_000_000)));
    }

    [Fact]
    public void Semaphore_HasNoMoreThanItsPermits()
    {
        Hold[] holds = [.. Enumerable.Range(0, LockWork.Permits).Select(i => new Hold(HoldKind.Semaphore, i + 1, 0, 10, 50, null))];
        Assert.Empty(Check(false, holds));
        Assert.Empty(Check(false, [.. holds, new Hold(HoldKind.Semaphore, 9, 0, 51, 60, null)]));
        Assert.Single(Check(false, [.. holds, new Hold(HoldKind.Semaphore, 9, 0, 50, 60, null)]));
    }

    [Fact]
    public void Readers_MayBeTogether_AndAWriterIsAlone()
    {
        Hold one = new(HoldKind.Read, 1, 0, 10, 20, null), other = one with { Token = 2, From = 15 }, writer = new(HoldKind.Write, 3, 0, 21, 30, null);
        Assert.Empty(Check(false, one, other, writer));
        Assert.NotEmpty(Check(false, one, other, writer with { From = 18 }));
        Assert.NotEmpty(Check(false, writer, one with { From = 25, Until = 40 }));
        Assert.NotEmpty(Check(false, writer, writer with { Token = 4, From = 25 }));
    }

    private static IReadOnlyList<string> Check(bool mayRevoke, params Hold[] holds)
    {
        var findings = new Findings();
        HoldChecker.Check(holds, mayRevoke, findings);
        return findings.Violations;
    }

    private static Hold Lock(long token, long asked, long from, long until) => new(HoldKind.Lock, token, asked, from, until, null);
}
