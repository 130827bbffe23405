using System.Globalization;
using System.Text;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>What many runs came to, in Markdown.</summary>
internal static class SeriesReport
{
    // Of a count that is the most of one run, and not to be summed.
    private const string Longest = "longest";

    private const double MegaByte = 1 << 20;

    public static string Of(IReadOnlyList<RunReport> runs)
    {
        var text = new StringBuilder();
        Line($"# {runs.Count} fault runs");
        Line($"");
        Line($"{Having("pass")} passed, {Having("violation")} with a violation, {Having("unknown")} unknown: {Each(run => $"on etcd {run.Version}")}; {Each(run => $"in {run.Network}")}. Seconds.");
        Table("schedule", "runs", "longest outage", "all worked, after etcd did again", "runs with a silo killed or frozen", "longest outage of these", "all worked, after etcd did again");
        foreach (var schedule in runs.GroupBy(run => run.Schedule).OrderBy(group => group.Key, StringComparer.Ordinal))
        {
            var (others, attacked) = (schedule.Where(run => !run.AttacksSilos), schedule.Where(run => run.AttacksSilos));
            Line($"| {schedule.Key} | {schedule.Count()} | {Outage(others)} | {Recovery(others)} | {attacked.Count()} | {Outage(attacked)} | {Recovery(attacked)} |");
        }

        Table("counted", "in all runs");
        Line($"| operations, or steps of them | {runs.Sum(Operations)} |");
        foreach (var count in runs.SelectMany(run => run.Counts).GroupBy(count => count.Key).OrderBy(group => group.Key, StringComparer.Ordinal))
            Line($"| {count.Key} | {(count.Key.StartsWith(Longest, StringComparison.Ordinal) ? count.Max(one => one.Value) : count.Sum(one => one.Value))} |");

        Table("etcd", "run of its cluster", "memory of the test process, MB", "of the silos, MB", "threads", "open files and sockets", "streams", "watchers", "leases");
        foreach (var cluster in runs.GroupBy(run => run.Version).OrderBy(group => group.Key, StringComparer.Ordinal).SelectMany(Clusters))
        {
            foreach (var (version, run, health) in Quarters(cluster))
                Line($"| {version} | {run} | {health.TestMemory / MegaByte:0} | {health.SiloMemory / MegaByte:0} | {health.Threads} | {health.Descriptors} | {health.Streams} | {health.Watchers} | {health.Leases} |");
        }

        Table("seed", "etcd", "schedule", "verdict", "faults of etcd", "of silos", "operations", "longest outage", "of", "all worked, after etcd did again");
        foreach (var run in runs.OrderBy(run => run.Seed))
        {
            var worst = run.Workloads.MaxBy(workload => workload.LongestOutage);
            Line($"| {run.Seed} | {run.Version} | {run.Schedule} | {run.Verdict} | {run.Counts.GetValueOrDefault("faults of etcd")} | {run.Counts.GetValueOrDefault("faults of silos")} | {Operations(run)} | {Outage([run])} | {worst?.Name ?? "-"} | {Recovery([run])} |");
        }

        return text.ToString();

        void Line(FormattableString line) => text.AppendLine(line.ToString(CultureInfo.InvariantCulture));

        void Table(params string[] columns)
        {
            Line($"");
            Line($"| {string.Join(" | ", columns)} |");
            Line($"|{string.Concat(columns.Select(_ => "---|"))}");
        }

        int Having(string verdict) => runs.Count(run => run.Verdict == verdict);

        string Each(Func<RunReport, string> of) => string.Join(", ", runs.GroupBy(of).OrderBy(group => group.Key, StringComparer.Ordinal).Select(group => string.Create(CultureInfo.InvariantCulture, $"{group.Count()} {group.Key}")));
    }

    private static int Operations(RunReport run) => run.Workloads.Sum(workload => workload.Succeeded + workload.Failed);

    private static string Outage(IEnumerable<RunReport> runs) => Most(runs, workload => workload.LongestOutage);

    private static string Recovery(IEnumerable<RunReport> runs) => Most(runs, workload => workload.RecoveredAfter ?? double.PositiveInfinity);

    private static string Most(IEnumerable<RunReport> runs, Func<WorkloadReport, double> of) => runs.SelectMany(run => run.Workloads).Select(of).DefaultIfEmpty(-1).Max() switch
    {
        < 0 => "-",
        double.PositiveInfinity => "never",
        var most => (most / 1000).ToString("0.0", CultureInfo.InvariantCulture),
    };

    // Of the runs on one version, in the order in which they were made: each cluster counts its own from one.
    private static IEnumerable<List<(string Version, int Run, Health Health)>> Clusters(IEnumerable<RunReport> runs)
    {
        List<(string, int Run, Health)> cluster = [];
        foreach (var run in runs)
        {
            if (run.Health is not { } health)
                continue;
            if (cluster.Count > 0 && run.RunsOfDeployment <= cluster[^1].Run)
            {
                yield return cluster;
                cluster = [];
            }

            cluster.Add((run.Version, run.RunsOfDeployment, health));
        }

        yield return cluster;
    }

    // The first, the tenth, by when all is warm, and what lies between that and the last in four parts.
    private static IEnumerable<T> Quarters<T>(IReadOnlyList<T> all) =>
        all.Where((_, index) => index is 0 or 9 || (index > 9 && Enumerable.Range(1, 4).Any(quarter => index == 9 + ((all.Count - 10) * quarter / 4))));
}
