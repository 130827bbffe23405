using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Collects figures and goals; prints a table and appends JSON lines.</summary>
internal sealed class Report(TextWriter output)
{
    private readonly List<Figure> _figures = [];
    private readonly List<GoalResult> _goals = [];
    private readonly List<GoalResult> _missedCounts = [];
    private readonly List<string> _notes = [];

    public IReadOnlyList<Figure> Figures => _figures;

    public IReadOnlyList<GoalResult> Goals => _goals;

    public IReadOnlyList<string> Notes => _notes;

    public void Note(string line)
    {
        _notes.Add(line);
        output.WriteLine(line);
    }

    public Figure Add(Figure figure)
    {
        _figures.Add(figure);
        return figure;
    }

    /// <summary>What is counted, and does not depend on the machine, and is not as it should be.</summary>
    public IReadOnlyList<GoalResult> MissedCounts => _missedCounts;

    /// <summary>That a count is what it should be.</summary>
    public void CountGoal(string goal, bool met, string found)
    {
        Goal(goal, met, found);
        if (!met)
            _missedCounts.Add(_goals[^1]);
    }

    /// <summary>That the median ratio of a figure is at most this.</summary>
    public void RatioGoal(string goal, Figure figure, double limit) =>
        Goal(goal, figure.RatioMedian <= limit, $"{Number(figure.RatioMedian)} ({Number(figure.RatioMin)}-{Number(figure.RatioMax)}), at most {Number(limit)}");

    /// <summary>That the median ratio of a figure is at least this.</summary>
    public void AtLeastGoal(string goal, Figure figure, double limit) =>
        Goal(goal, figure.RatioMedian >= limit, $"{Number(figure.RatioMedian)} ({Number(figure.RatioMin)}-{Number(figure.RatioMax)}), at least {Number(limit)}");

    /// <summary>That something measured, which depends on the machine, is as it should be.</summary>
    public void Goal(string goal, bool met, string found) => _goals.Add(new GoalResult(goal, met, found));

    public void Print()
    {
        string[] header = ["case", "metric", "subject", "against", "ours", "theirs", "ratio", "min", "max", "rounds"];
        string[][] rows = [header, .. _figures.Select(Cells)];
        var widths = Enumerable.Range(0, header.Length).Select(column => rows.Max(row => row[column].Length)).ToArray();
        output.WriteLine();
        foreach (var row in rows)
            output.WriteLine(string.Join("  ", row.Select((cell, column) => column < 4 ? cell.PadRight(widths[column]) : cell.PadLeft(widths[column]))).TrimEnd());
        if (_goals.Count == 0)
            return;
        output.WriteLine();
        foreach (var goal in _goals)
            output.WriteLine($"{(goal.Met ? "met   " : "missed")}  {goal.Goal}: {goal.Found}");
    }

    /// <summary>Each figure a line, with where and of what it was measured.</summary>
    public void Append(string path, RunContext context)
    {
        if (Path.GetDirectoryName(Path.GetFullPath(path)) is { } directory)
            Directory.CreateDirectory(directory);
        File.AppendAllLines(path, _figures.Select(figure => Line(figure, context)));
    }

    private static string Line(Figure figure, RunContext context)
    {
        var line = JsonSerializer.SerializeToNode(figure)!.AsObject();
        foreach (var (name, value) in JsonSerializer.SerializeToNode(context)!.AsObject())
            line[name] = value?.DeepClone();
        return line.ToJsonString();
    }

    /// <summary>Three digits or so, of which a table can hold many.</summary>
    public static string Number(double? value) => value switch
    {
        null => "-",
        >= 10_000 => value.Value.ToString("#,0", CultureInfo.InvariantCulture),
        >= 100 => value.Value.ToString("0", CultureInfo.InvariantCulture),
        >= 10 => value.Value.ToString("0.#", CultureInfo.InvariantCulture),
        _ => value.Value.ToString("0.###", CultureInfo.InvariantCulture),
    };

    private static string[] Cells(Figure figure) =>
    [
        figure.Case, figure.Metric, figure.Subject, figure.Against, Number(figure.OursMedian), Number(figure.TheirsMedian),
        Number(figure.RatioMedian), Number(figure.RatioMin ?? figure.OursMin), Number(figure.RatioMax ?? figure.OursMax), figure.Rounds.ToString(CultureInfo.InvariantCulture),
    ];
}

/// <summary>What was to be reached, and what was.</summary>
internal sealed record GoalResult(
    [property: JsonPropertyName("goal")] string Goal,
    [property: JsonPropertyName("met")] bool Met,
    [property: JsonPropertyName("found")] string Found);
