using System.Text.Json.Serialization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// One line of the report and of the JSON file. The ratio is ours over theirs, taken round by round; where there is
/// nothing to compare with, <c>against</c> is "none". Rounds in which theirs was zero have no ratio and are not counted.
/// </summary>
internal sealed record Figure(
    [property: JsonPropertyName("benchmark")] string Benchmark,
    [property: JsonPropertyName("case")] string Case,
    [property: JsonPropertyName("metric")] string Metric,
    [property: JsonPropertyName("subject")] string Subject,
    [property: JsonPropertyName("against")] string Against,
    [property: JsonPropertyName("ours_median")] double OursMedian,
    [property: JsonPropertyName("ours_min")] double OursMin,
    [property: JsonPropertyName("ours_max")] double OursMax,
    [property: JsonPropertyName("theirs_median")] double? TheirsMedian,
    [property: JsonPropertyName("theirs_min")] double? TheirsMin,
    [property: JsonPropertyName("theirs_max")] double? TheirsMax,
    [property: JsonPropertyName("ratio_median")] double? RatioMedian,
    [property: JsonPropertyName("ratio_min")] double? RatioMin,
    [property: JsonPropertyName("ratio_max")] double? RatioMax,
    [property: JsonPropertyName("rounds")] int Rounds)
{
    public const string Nobody = "none";

    /// <summary>Ours of each round; empty where this was read from a file.</summary>
    [JsonIgnore]
    public IReadOnlyList<double> Ours { get; init; } = [];

    /// <summary>Theirs, likewise.</summary>
    [JsonIgnore]
    public IReadOnlyList<double> Theirs { get; init; } = [];

    public static Figure From(string benchmark, string @case, string metric, string subject, string? against, IReadOnlyList<double> ours, IReadOnlyList<double> theirs)
    {
        var alone = new Figure(benchmark, @case, metric, subject, against ?? Nobody, Median(ours), ours.Min(), ours.Max(), null, null, null, null, null, null, ours.Count) { Ours = ours };
        if (against is null)
            return alone;
        var ratios = ours.Zip(theirs).Where(pair => pair.Second != 0).Select(pair => pair.First / pair.Second).ToArray();
        var compared = alone with { TheirsMedian = Median(theirs), TheirsMin = theirs.Min(), TheirsMax = theirs.Max(), Theirs = theirs };
        return ratios.Length == 0
            ? compared
            : compared with { RatioMedian = Median(ratios), RatioMin = ratios.Min(), RatioMax = ratios.Max(), Rounds = ratios.Length };
    }

    public static double Median(IReadOnlyList<double> values)
    {
        var sorted = values.Order().ToArray();
        var middle = sorted.Length / 2;
        return sorted.Length % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
    }
}
