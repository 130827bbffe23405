using System.Text;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Writes docs/benchmarks.md, what it was written from, and the plot of growth beside it, from the last run of each benchmark.</summary>
internal static class BenchmarkPage
{
    private const string PlotName = "growth.svg";

    /// <summary>Answers the path of the page.</summary>
    /// <param name="results">The last of each benchmark; null where it was never run.</param>
    /// <param name="failed">Those that failed just now.</param>
    public static string Write(IReadOnlyList<(string Name, RunResult? Result)> results, IReadOnlyCollection<string> failed)
    {
        var page = new StringBuilder();
        page.AppendLine("# Benchmarks");
        page.AppendLine();
        page.AppendLine("Written by `./run-benchmarks all` (or `./run-benchmarks docs`, from the last run of each, here or in `benchmarks/`); edits are lost. Ours and the others do");
        page.AppendLine("the same in turn, round after round. A ratio is ours over theirs, taken round by round: its median, and its least and greatest.");
        page.AppendLine("Of latencies (`_ms`, `_us`, `_ns`, `s`) less is better, of rates (`_per_s`) more. Machines differ and are noisy: only ratios mean");
        page.AppendLine("something elsewhere. \"Bare\" is etcd's generated client on a plain channel. p50 and p99 are latencies of one operation in flight.");
        foreach (var (name, result) in results)
        {
            page.AppendLine();
            page.AppendLine($"## {name}");
            if (failed.Contains(name))
            {
                page.AppendLine();
                page.AppendLine("**It failed in the last run**: what is here is of one before, if there was one.");
            }

            if (result is null)
            {
                page.AppendLine();
                page.AppendLine("Not measured.");
                continue;
            }

            Append(page, result);
            result.Publish();
        }

        var path = Path.Combine(Repository.Docs, "benchmarks.md");
        File.WriteAllText(path, page.ToString());
        if (results.FirstOrDefault(one => one.Name == GrowthBenchmark.BenchmarkName).Result is { } growth)
            File.WriteAllText(Path.Combine(Repository.Docs, PlotName), GrowthPlot.Draw(growth.Figures));
        return path;
    }

    private static void Append(StringBuilder page, RunResult result)
    {
        page.AppendLine();
        page.AppendLine($"{char.ToUpperInvariant(result.Summary[0])}{result.Summary[1..]}. `./run-benchmarks {result.Name}`, {result.Context.Date:yyyy-MM-dd}, {result.Context.Machine};");
        page.AppendLine($"{string.Join(", ", result.Context.Versions.Select(pair => $"{pair.Key} {pair.Value}"))}.");
        if (result.Name == GrowthBenchmark.BenchmarkName)
        {
            page.AppendLine();
            page.AppendLine($"![How the cost of each operation grows with the number of things]({PlotName})");
        }

        if (result.Goals.Count > 0)
        {
            Table(page, ["goal", "", "found"], result.Goals.Select(goal => new[] { goal.Goal, goal.Met ? "met" : "**missed**", goal.Found }));
        }

        Table(
            page,
            ["case", "metric", "ours", "against", "ours, median (least-greatest)", "theirs, median (least-greatest)", "ratio (least-greatest)", "rounds"],
            result.Figures.Select(figure => new[]
            {
                figure.Case, $"`{figure.Metric}`", figure.Subject, figure.Against == Figure.Nobody ? "" : figure.Against,
                Spread(figure.OursMedian, figure.OursMin, figure.OursMax), Spread(figure.TheirsMedian, figure.TheirsMin, figure.TheirsMax),
                Spread(figure.RatioMedian, figure.RatioMin, figure.RatioMax), $"{figure.Rounds}",
            }));
        if (result.Notes.Count == 0)
            return;
        page.AppendLine();
        foreach (var note in result.Notes)
            page.AppendLine($"- {note}");
    }

    private static string Spread(double? median, double? least, double? greatest) =>
        median is null ? "" : $"{Report.Number(median)} ({Report.Number(least)}-{Report.Number(greatest)})";

    private static void Table(StringBuilder page, string[] header, IEnumerable<string[]> rows)
    {
        page.AppendLine();
        page.AppendLine($"| {string.Join(" | ", header)} |");
        page.AppendLine($"|{string.Concat(Enumerable.Repeat("---|", header.Length))}");
        foreach (var row in rows)
            page.AppendLine($"| {string.Join(" | ", row)} |");
    }
}
