using System.Text.Json;
using System.Text.Json.Serialization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>All that came of one run of one benchmark, kept for the page in docs/ until the next run of it.</summary>
internal sealed record RunResult(
    [property: JsonPropertyName("name")] string Name,
    [property: JsonPropertyName("summary")] string Summary,
    [property: JsonPropertyName("context")] RunContext Context,
    [property: JsonPropertyName("notes")] IReadOnlyList<string> Notes,
    [property: JsonPropertyName("figures")] IReadOnlyList<Figure> Figures,
    [property: JsonPropertyName("goals")] IReadOnlyList<GoalResult> Goals)
{
    public void Save()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(PathOf(Name))!);
        File.WriteAllText(PathOf(Name), JsonSerializer.Serialize(this));
    }

    public static RunResult? TryLoad(string name) =>
        File.Exists(PathOf(name)) ? JsonSerializer.Deserialize<RunResult>(File.ReadAllText(PathOf(name))) : null;

    private static string PathOf(string name) => Path.Combine(Repository.Artifacts, "benchmarks", $"{name}.json");
}
