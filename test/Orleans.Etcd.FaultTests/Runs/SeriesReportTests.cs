using Xunit;

namespace Orleans.Etcd.FaultTests.Runs;

public sealed class SeriesReportTests
{
    [Fact]
    public void Runs_OfWhichSomeAttackSilos_AreToldApart()
    {
        var text = SeriesReport.Of(
        [
            Run(7, "Random", [], outage: 1_240, recovered: 310),
            Run(8, "Random", [], outage: 950, recovered: 620),
            Run(9, "Random", [], outage: 7_000, recovered: 2_000, new KillSilo(1)),
            Run(11, "Random", [], outage: 800, recovered: 700, new ClockJump(1, TimeSpan.FromMinutes(7))),
            Run(10, "Member", ["a step is missing"], outage: 2_000, recovered: null),
        ]);

        Assert.StartsWith("# 5 fault runs", text, StringComparison.Ordinal);
        Assert.Contains("\n4 passed, 1 with a violation, 0 unknown: ", text, StringComparison.Ordinal);
        Assert.Contains("\n| Random | 4 | 1.2 | 0.7 | 1 | 7.0 | 2.0 |", text, StringComparison.Ordinal);
        Assert.Contains("\n| Member | 1 | 2.0 | never | 0 | - | - |", text, StringComparison.Ordinal);
        Assert.Contains("\n| 10 | 3.5.16 | Member | violation |", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Counts_AreSummed_AndTheLongestIsTheLongest()
    {
        var text = SeriesReport.Of([Run(1, "One", [], 1, 1), Run(2, "One", [], 1, 1)]);

        Assert.Contains("\n| times held | 12 |", text, StringComparison.Ordinal);
        Assert.Contains("\n| longest stall, ms | 5 |", text, StringComparison.Ordinal);
        Assert.Contains("\n| operations, or steps of them | 22 |", text, StringComparison.Ordinal);
    }

    [Fact]
    public void Health_IsOfTheFirstRunOfEachCluster_TheTenth_AndFourParts()
    {
        var text = SeriesReport.Of([.. Enumerable.Range(1, 50).Append(1).Select(number => Run(number, "One", [], 1, 1) with { RunsOfDeployment = number, Health = new(20 << 20, 600 << 20, 140, 1_400, 33, 26, 12) })]);

        Assert.Equal([1, 10, 20, 30, 40, 50, 1], text.Split('\n').Where(line => line.EndsWith("| 140 | 1400 | 33 | 26 | 12 |", StringComparison.Ordinal)).Select(line => int.Parse(line.Split('|')[2], null)));
    }

    [Fact]
    public void Lines_ReadAgain_AreTheSameRuns()
    {
        RunReport[] runs = [Run(1, "One", [], 1.5, 1) with { Health = new(20 << 20, 600 << 20, 140, 1_400, 33, 26, 12), RunsOfDeployment = 1 }, Run(2, "Two", ["lost"], 1, null)];

        Assert.Equal(SeriesReport.Of(runs), SeriesReport.Of([.. runs.Select(run => RunReport.Parse(run.ToLine()))]));
    }

    private static RunReport Run(int seed, string schedule, string[] violations, double outage, double? recovered, params Fault[] faults) => new()
    {
        Seed = seed,
        Schedule = schedule,
        Version = "3.5.16",
        Network = "network namespaces",
        AttacksSilos = new Schedule(ScheduleKind.Random, [.. faults.Select(fault => new ScheduledFault(TimeSpan.Zero, TimeSpan.Zero, fault))], TimeSpan.Zero).AttacksSilos,
        Faults = [],
        Events = [],
        Violations = violations,
        Unknown = [],
        Counts = new Dictionary<string, long> { ["times held"] = 6, ["longest stall, ms"] = 4 + (seed % 2) },
        Workloads = [new("lock", 10, 1, outage, recovered)],
    };
}
