using System.Text.Json;
using System.Text.Json.Serialization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// All that came of one run of one benchmark, kept for the page in docs/ until the next run of it; and beside that page, so that it can be
/// written anew where only some of the benchmarks were run again.
/// </summary>
internal sealed record RunResult(
    [property: JsonPropertyName("name")] string Name,
    [property: JsonPropertyName("summary")] string Summary,
    [property: JsonPropertyName("context")] RunContext Context,
    [property: JsonPropertyName("notes")] IReadOnlyList<string> Notes,
    [property: JsonPropertyName("figures")] IReadOnlyList<Figure> Figures,
    [property: JsonPropertyName("goals")] IReadOnlyList<GoalResult> Goals)
{
    public void Save() => Save(Repository.Artifacts);

    /// <summary>Keeps it beside the page.</summary>
    public void Publish() => Save(Repository.Docs);

    /// <summary>The last run here, or else the one that the page in docs/ has.</summary>
    public static RunResult? TryLoad(string name) =>
        new[] { Repository.Artifacts, Repository.Docs }.Select(folder => PathIn(folder, name)).FirstOrDefault(File.Exists) is { } path
            ? JsonSerializer.Deserialize<RunResult>(File.ReadAllText(path))
            : null;

    private void Save(string folder)
    {
        var path = PathIn(folder, Name);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        File.WriteAllText(path, JsonSerializer.Serialize(this));
    }

    private static string PathIn(string folder, string name) => Path.Combine(folder, "benchmarks", $"{name}.json");
}
