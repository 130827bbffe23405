using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Workloads;
using Orleans.Etcd.Tests.Silo;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checkers that compare with etcd's own log: what was told rightly is accepted, and each kind of fault is found.</summary>
public sealed class ObserverCheckerTests
{
    private static readonly LogPart Log = new(10, State(("a", "1")), [Revision(11, ("a", "2")), Revision(13, ("b", "1"), ("a", null)), Revision(14, ("b", "3"))]);

    private static readonly ConfigStep[] Told = [Snapshot(0, 10, ("a", "1")), Delta(10, 11, ("a", "2")), Delta(11, 13, ("b", "1"), ("a", null)), Delta(13, 14, ("b", "3"))];

    [Fact]
    public void WhatHappened_IsAccepted() => Assert.Empty(ObserverChecker.Check(Log, Told));

    [Fact]
    public void SnapshotInPlaceOfRevisions_IsAccepted_WhereThereIsAReason()
    {
        ConfigStep[] told = [Told[0], Snapshot(10, 13, ("b", "1")), Told[3]];
        Assert.Empty(ObserverChecker.Check(Log, told, mayReadAnew: step => step.Previous <= 10));
        AssertFound("without any reason", told);
        // There was a reason for one, and not for this one.
        Assert.Single(ObserverChecker.Check(Log, told, mayReadAnew: step => step.Previous <= 9));
    }

    [Fact]
    public void MissedRevision_IsFound() => AssertFound("came where", [Told[0], Told[1], Delta(11, 14, ("b", "3"))]);

    [Fact]
    public void DoubledRevision_IsFound() => AssertFound("came after", [Told[0], Told[1], Told[1], Told[2], Told[3]]);

    [Fact]
    public void ReorderedRevisions_AreFound() => AssertFound("came where", [Told[0], Told[2], Told[1], Told[3]]);

    [Fact]
    public void TornRevision_IsFound() => AssertFound("was told", [Told[0], Told[1], Delta(11, 13, ("b", "1")), Told[3]]);

    [Fact]
    public void WrongValue_IsFound() => AssertFound("was told", [Told[0], Delta(10, 11, ("a", "3")), Told[2], Told[3]]);

    [Fact]
    public void WrongSnapshot_IsFound() => AssertFound("the snapshot", [Told[0], Snapshot(10, 13, ("b", "1"), ("a", "2")), Told[3]]);

    [Fact]
    public void HiddenGap_IsFound() => AssertFound("says that it follows", [Told[0], Told[1], Told[2] with { Previous = 12 }, Told[3]]);

    [Fact]
    public void MissingEnd_IsFound_UnlessItNeedNotBeTold()
    {
        AssertFound("was not told", Told[..3]);
        Assert.Empty(ObserverChecker.Check(Log, Told[..3], until: 13));
    }

    [Fact]
    public void NothingTold_IsFound() => AssertFound("nothing", []);

    [Fact]
    public void Commits_AreComparedWithTheLog()
    {
        var commit = new ConfigOperation(1, "commit") { Values = Changes(("b", "1"), ("a", null)), Revision = 13, Invoked = 1, Ended = 2 };
        Assert.Empty(ConfigChecker.Check(Log, [commit]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Revision = 14 }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Values = Changes(("b", "1")) }]));
        Assert.Empty(ConfigChecker.Check(Log, [commit with { Expected = new("a", 11) }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Expected = new("a", 10) }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Expected = new("a", 12) }]));
        // Not answered: it may be in the log, or not.
        var lost = commit with { Outcome = Outcome.Unknown, Revision = 0 };
        Assert.Empty(ConfigChecker.Check(Log, [lost]));
        Assert.Empty(ConfigChecker.Check(Log, [lost with { Values = Changes(("b", "7"), ("a", "8")) }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [lost with { Values = Changes(("b", "1"), ("c", "8")) }]));
        // Said not to be made.
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Outcome = Outcome.Fail, Revision = 0 }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [commit with { Conflicted = true, Revision = 0, Expected = new("a", 10) }]));
        Assert.Empty(ConfigChecker.Check(Log, [commit with { Conflicted = true, Revision = 0, Values = Changes(("b", "7")), Expected = new("a", 10) }]));
    }

    [Fact]
    public void Conflict_WithoutAReason_IsFound()
    {
        Assert.Empty(Check("a", 10));
        // There was no later change, or none yet; nothing was expected; it was never there.
        Assert.Single(Check("a", 13));
        Assert.Single(Check("a", 10, ended: -10_000_000));
        Assert.Single(Check(null, 0));
        Assert.Single(Check("c", 0));
        // It came, and might have gone again.
        Assert.Empty(Check("b", 0));
        Assert.Single(ConfigChecker.Check(Log, [new ConfigOperation(1, "rollback") { Conflicted = true, To = 10 }]));

        static IEnumerable<string> Check(string? key, long expected, long ended = 20) =>
            ConfigChecker.Check(Log, [new ConfigOperation(1, "commit") { Values = Changes(("a", "7")), Conflicted = true, Expected = key is null ? default : new(key, expected), Ended = ended }]);
    }

    [Fact]
    public void Reads_AreComparedWithTheLog()
    {
        var read = new ConfigOperation(1, "read") { Values = Changes(("b", "1")), Revision = 13 };
        Assert.Empty(ConfigChecker.Check(Log, [read]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [read with { Revision = 14 }]));
        Assert.Empty(ConfigChecker.Check(Log, [read with { Action = "read back", AtLeast = 13 }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [read with { Action = "read back", AtLeast = 14 }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [read with { Action = "read back", Revision = 14 }]));
        // What has not been written since the log began was there then.
        Assert.Empty(ConfigChecker.Check(Log, [read with { Revision = 7, Values = Changes(("a", "1")) }]));
        Assert.NotEmpty(ConfigChecker.Check(Log, [read with { Revision = 0, Values = Changes() }]));
        // 14 had been there for six seconds.
        var late = read with { Invoked = 6_000_014 };
        Assert.Empty(ConfigChecker.Check(Log, [late]));
        Assert.Empty(ConfigChecker.Check(Log, [read with { Invoked = 4_000_000 }], oldest: _ => TimeSpan.FromSeconds(5)));
        Assert.NotEmpty(ConfigChecker.Check(Log, [late], oldest: at => at >= late.Invoked ? TimeSpan.FromSeconds(5) : null));
        Assert.Empty(ConfigChecker.Check(Log, [late], oldest: _ => TimeSpan.FromSeconds(60)));
    }

    [Fact]
    public void WriteAskedLater_HasTheHigherRevision()
    {
        var first = new ConfigOperation(1, "commit") { Values = Changes(("b", "3")), Revision = 14, Invoked = 1, Ended = 2 };
        var second = new ConfigOperation(2, "commit") { Values = Changes(("a", "2")), Revision = 11, Invoked = 3, Ended = 4 };
        Assert.NotEmpty(ConfigChecker.Check(Log, [first, second]));
        Assert.Empty(ConfigChecker.Check(Log, [first, second with { Invoked = 1 }]));
    }

    [Fact]
    public void Rollback_LeavesWhatWas()
    {
        var log = Log with { Revisions = [.. Log.Revisions, Revision(15, ("a", "1"), ("b", null))] };
        var rollback = new ConfigOperation(1, "rollback") { To = 10, Revision = 15 };
        Assert.Empty(ConfigChecker.Check(log, [rollback]));
        Assert.NotEmpty(ConfigChecker.Check(log, [rollback with { To = 11 }]));
    }

    [Fact]
    public void ValueWrittenTwice_IsFound() =>
        Assert.NotEmpty(ConfigChecker.Check(Log with { Revisions = [.. Log.Revisions, Revision(15, ("b", "2"))] }, []));

    /// <summary>What etcd has forgotten comes from the records of commits, which may be older than the run.</summary>
    [Fact]
    public void ValueOfAnEarlierCommit_ThatIsGoneBackToTwice_IsAccepted()
    {
        var log = Log with { Revisions = [.. Log.Revisions, Revision(15, ("b", "old")), Revision(16, ("b", "4")), Revision(17, ("b", "old"))] };
        ConfigOperation[] rollbacks = [new(1, "rollback") { To = 10, Revision = 15, Compacted = 12 }, new(1, "rollback") { To = 10, Revision = 17, Compacted = 12 }];
        Assert.Empty(ConfigChecker.Check(log, rollbacks, compacted: 12, recorded: ["old"]));
        Assert.NotEmpty(ConfigChecker.Check(log, rollbacks, compacted: 12));
    }

    [Fact]
    public void AcknowledgedWrite_ThatItsRevisionDidNotMake_IsFound()
    {
        Assert.Empty(Log.Unwritten([(11, ["2"]), (12, [])]));
        Assert.Equal(2, Log.Unwritten([(11, ["2", "3"]), (12, ["2"])]).Count());
        // And what was said not to be done is not.
        Assert.Empty(Log.Written([["9"]]));
        Assert.Single(Log.Written([["9", "2"], ["8"]]));
    }

    [Fact]
    public void WatchThatBegins_TellsWhatIsThere()
    {
        Assert.Empty(WatchWorkload.CheckBegun(Log, [new(11, 12, Known(("a", "2"))), new(0, 7, Known(("a", "1")))]));
        Assert.Single(WatchWorkload.CheckBegun(Log, [new(11, 12, Known(("a", "1")))]));
        Assert.Single(WatchWorkload.CheckBegun(Log, [new(13, 12, Known(("a", "2")))]));
        Assert.Single(WatchWorkload.CheckBegun(Log, [new(11, 12, Known(("a", "2"), ("b", "1")))]));
        static Dictionary<string, string> Known(params (string Key, string Value)[] values) => values.ToDictionary(pair => pair.Key, pair => pair.Value);
    }

    [Fact]
    public void GatewayLists_ComeInOrder()
    {
        var rows = new LogPart(1, ImmutableSortedDictionary<string, string>.Empty, [Revision(2, ("s1", Row(1, "Active"))), Revision(3, ("s2", Row(2, "Active"))), Revision(4, ("s1", Row(1, "Dead")))]);
        var (none, one, both, other) = (Gateways(), Gateways(1), Gateways(1, 2), Gateways(2));
        Assert.Empty(TableWorkload.CheckGateways(rows, Lists(none, one, one, both, other)));
        Assert.Empty(TableWorkload.CheckGateways(rows, Lists(one, other)));
        Assert.NotEmpty(TableWorkload.CheckGateways(rows, Lists(both, one, other)));
        Assert.NotEmpty(TableWorkload.CheckGateways(rows, Lists(Gateways(3), other)));
        Assert.NotEmpty(TableWorkload.CheckGateways(rows, Lists(none, both)));
        // What was there three seconds ago is too old once all is calm.
        (long, ImmutableSortedSet<string>)[] old = [(3_000_004, both), (3_000_005, other)];
        Assert.Empty(TableWorkload.CheckGateways(rows, old));
        Assert.NotEmpty(TableWorkload.CheckGateways(rows, old, at => at >= 3_000_000 ? TimeSpan.FromSeconds(2) : null));
        Assert.Empty(TableWorkload.CheckGateways(rows, [(1_000_004, both), (3_000_005, other)], _ => TimeSpan.FromSeconds(2)));
        static (long, ImmutableSortedSet<string>)[] Lists(params ImmutableSortedSet<string>[] lists) => [.. lists.Select(list => (0L, list))];
    }

    [Fact]
    public void Deaths_AreOfThoseWhoWereAttacked_AndForGood()
    {
        LogPart Rows(params string[] statuses) => new(1, ImmutableSortedDictionary<string, string>.Empty, [.. statuses.Select((status, i) => Revision(i + 2, ("127.0.0.1:10001@1", Row(1, status))))]);
        Assert.Empty(ClusterWorkload.CheckDeaths(Rows("Active", "Dead"), Attacked(1)));
        Assert.NotEmpty(ClusterWorkload.CheckDeaths(Rows("Active", "Dead"), Attacked(2)));
        Assert.NotEmpty(ClusterWorkload.CheckDeaths(Rows("Active", "Dead", "Active"), Attacked(1)));
        // It was dead before anything was done to it.
        Assert.NotEmpty(ClusterWorkload.CheckDeaths(Rows("Active", "Dead"), Attacked(1, at: 4)));
        static Dictionary<string, long> Attacked(int silo, long at = 0) => new() { [$"127.0.0.1:{10_000 + silo}"] = at };
    }

    private static void AssertFound(string text, ConfigStep[] told) => Assert.Contains(ObserverChecker.Check(Log, told), fault => fault.Contains(text, StringComparison.Ordinal));

    private static string Row(int silo, string status) => $$"""{"SiloAddress":"127.0.0.1:{{10_000 + silo}}@1","Status":"{{status}}","ProxyPort":{{30_000 + silo}}}""";

    private static ImmutableSortedSet<string> Gateways(params int[] silos) => [.. silos.Select(silo => $"gwy.tcp://127.0.0.1:{30_000 + silo}/1")];

    private static ImmutableSortedDictionary<string, string> State(params (string Key, string Value)[] values) => values.ToImmutableSortedDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);

    private static ImmutableSortedDictionary<string, string?> Changes(params (string Key, string? Value)[] values) => values.ToImmutableSortedDictionary(pair => pair.Key, pair => pair.Value, StringComparer.Ordinal);

    private static Revision Revision(long number, params (string Key, string? Value)[] changes) => new(number, number, Changes(changes));

    private static ConfigStep Snapshot(long previous, long revision, params (string Key, string? Value)[] values) => new(previous, revision, true, values.ToDictionary(pair => pair.Key, pair => pair.Value));

    private static ConfigStep Delta(long previous, long revision, params (string Key, string? Value)[] values) => new(previous, revision, false, values.ToDictionary(pair => pair.Key, pair => pair.Value));
}
