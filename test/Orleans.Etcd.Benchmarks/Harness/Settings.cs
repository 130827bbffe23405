using System.Globalization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>The command line. Quick is one round of few operations: it shows that all works, not how fast.</summary>
internal sealed record Settings(string Name, int? ChosenRounds, bool Quick, string JsonFile)
{
    /// <summary>Every benchmark, and the page after them.</summary>
    public const string All = "all";

    /// <summary>Only the page, from what was measured last.</summary>
    public const string Docs = "docs";

    public const int LeastRounds = 5;

    /// <summary>Whether it says how fast something is.</summary>
    public bool IsKept => !Quick && ChosenRounds is null or >= LeastRounds;

    /// <summary>How many rounds count.</summary>
    public int Rounds => RoundsOr(7);

    public static Settings? Parse(string[] arguments)
    {
        string? name = null, json = null;
        int? rounds = null;
        var quick = false;
        for (var i = 0; i < arguments.Length; i++)
        {
            switch (arguments[i])
            {
                case "--quick":
                    quick = true;
                    break;
                case "--rounds" when i + 1 < arguments.Length && int.TryParse(arguments[i + 1], NumberStyles.None, CultureInfo.InvariantCulture, out var count) && count > 0:
                    rounds = count;
                    i++;
                    break;
                case "--json" when i + 1 < arguments.Length && arguments[i + 1].Length > 0:
                    json = arguments[++i];
                    break;
                case var argument when name is null && !argument.StartsWith('-'):
                    name = argument;
                    break;
                default:
                    return null;
            }
        }

        return name is null
            ? null
            : new Settings(name, rounds, quick, json ?? Path.Combine(Repository.Artifacts, "benchmarks.jsonl"));
    }

    /// <summary>How many rounds count, where a benchmark has a default of its own.</summary>
    public int RoundsOr(int full) => ChosenRounds ?? (Quick ? 1 : full);

    /// <summary>How many operations a round has: a twentieth when it has to be quick.</summary>
    public int Operations(int full) => Quick ? Math.Max(3, full / 20) : full;
}
