using Orleans.Etcd.FaultTests.Histories;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checker on histories written by hand: it must know right from wrong before it is asked about a table.</summary>
public sealed class TableCheckerTests
{
    [Fact]
    public void ReadAfterAWrite_MustSeeIt()
    {
        Assert.Equal(Verdict.Holds, TableChecker.Check([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 1, "a")]));
        Assert.Equal(Verdict.Broken, TableChecker.Check([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 0)]));
    }

    [Fact]
    public void ReadDuringAWrite_MaySeeItOrNot_ButNotGoBack()
    {
        Assert.Equal(Verdict.Holds, TableChecker.Check([Write(0, 1, 6, 0, "a", won: true), Read(1, 2, 3, 0), Read(2, 4, 5, 1, "a")]));
        Assert.Equal(Verdict.Broken, TableChecker.Check([Write(0, 1, 6, 0, "a", won: true), Read(1, 2, 3, 1, "a"), Read(2, 4, 5, 0)]));
    }

    [Fact]
    public void TornView_IsRejected() =>
        Assert.Equal(Verdict.Broken, TableChecker.Check([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 1)]));

    [Fact]
    public void TwoWinnersOfOneVersion_AreRejected()
    {
        Assert.Equal(Verdict.Holds, TableChecker.Check([Write(0, 1, 4, 0, "a", won: true), Write(1, 2, 3, 0, "b", won: false)]));
        Assert.Equal(Verdict.Broken, TableChecker.Check([Write(0, 1, 4, 0, "a", won: true), Write(1, 2, 3, 0, "b", won: true)]));
    }

    [Fact]
    public void FalseWithoutAConflict_IsRejected() =>
        Assert.Equal(Verdict.Broken, TableChecker.Check([Write(0, 1, 2, 0, "a", won: false)]));

    [Fact]
    public void WriteWithoutAnAnswer_MayComeAtAnyTimeOrNever_ButNotTwice()
    {
        var lost = Write(0, 1, 2, 0, "a", won: false) with { Outcome = Outcome.Unknown };
        Assert.Equal(Verdict.Holds, TableChecker.Check([lost, Read(1, 3, 4, 0), Read(1, 5, 6, 0)]));
        Assert.Equal(Verdict.Holds, TableChecker.Check([lost, Read(1, 3, 4, 0), Read(1, 5, 6, 1, "a")]));
        Assert.Equal(Verdict.Broken, TableChecker.Check([lost, Read(1, 3, 4, 1, "a"), Read(1, 5, 6, 0)]));
        Assert.Equal(Verdict.Broken, TableChecker.Check([lost, Read(1, 3, 4, 2, "a")]));
    }

    private static TableStep Write(int process, long asked, long answered, int over, string text, bool won) =>
        new(process, "write") { Invoked = asked, Ended = answered, Silo = 0, BaseVersion = over, Written = text, Won = won };

    private static TableStep Read(int process, long asked, long answered, int version, string? row = null) =>
        new(process, "read all") { Invoked = asked, Ended = answered, Seen = TableState.Empty with { Version = version, Rows = row is null ? TableState.Empty.Rows : TableState.Empty.Rows.Add(0, row) } };
}
