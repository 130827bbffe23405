using System.Globalization;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Orleans.Etcd.FaultTests.Histories;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>What one workload did in a run. Times in milliseconds, the last from when all faults were over and etcd answered again.</summary>
internal sealed record WorkloadReport(string Name, int Succeeded, int Failed, double LongestOutage, double? RecoveredAfter)
{
    public static WorkloadReport Of(History history, RunFacts facts) => new(
        history.Name,
        history.Steps.Count(step => step.Outcome == Outcome.Ok),
        history.Steps.Count(step => step.Outcome != Outcome.Ok),
        history.LongestOutage(facts.Began, facts.Ended).TotalMilliseconds,
        history.RecoveredAfter(facts.Healed)?.TotalMilliseconds);
}

/// <summary>What a run did and came to.</summary>
internal sealed record RunReport
{
    private static readonly JsonSerializerOptions Json = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull, Converters = { new JsonStringEnumConverter() } };
    private static readonly object Writing = new();

    public required int Seed { get; init; }

    public required string Schedule { get; init; }

    /// <summary>Whether a silo was to be killed or frozen; one whose clock is set goes on with what it does.</summary>
    public required bool AttacksSilos { get; init; }

    public required string Version { get; init; }

    public required string Network { get; init; }

    /// <summary>violation, unknown or pass.</summary>
    public string Verdict => Violations.Count > 0 ? "violation" : Unknown.Count > 0 ? "unknown" : "pass";

    public required IReadOnlyList<string> Faults { get; init; }

    public required IReadOnlyList<string> Events { get; init; }

    public required IReadOnlyList<string> Violations { get; init; }

    public required IReadOnlyList<string> Unknown { get; init; }

    public required IReadOnlyDictionary<string, long> Counts { get; init; }

    public required IReadOnlyList<WorkloadReport> Workloads { get; init; }

    /// <summary>What the deployment held on to after the run, and how many it had made by then; null where it is not used again.</summary>
    public Health? Health { get; init; }

    public int RunsOfDeployment { get; init; }

    [JsonIgnore]
    public IReadOnlyList<History> Histories { get; init; } = [];

    /// <summary>What else was recorded.</summary>
    [JsonIgnore]
    public IReadOnlyList<(string Name, IEnumerable<object> Lines)> Records { get; init; } = [];

    [JsonIgnore]
    public LogPart? Log { get; init; }

    /// <summary>What silos and members wrote, by name.</summary>
    [JsonIgnore]
    public IReadOnlyDictionary<string, Func<string>> Output { get; init; } = new Dictionary<string, Func<string>>();

    /// <summary>Where reports go: artifacts/faults of the repository.</summary>
    public static string Directory { get; } = Path.Combine(Repository(), "artifacts", "faults");

    /// <summary>Of a run that could not be made.</summary>
    public static RunReport NotMade(int seed, Schedule schedule, string version, Exception exception, Deployment? deployment) => new()
    {
        Seed = seed,
        Schedule = schedule.Kind.ToString(),
        AttacksSilos = schedule.AttacksSilos,
        Version = version,
        Network = "",
        Faults = [.. schedule.Faults.Select(fault => fault.ToString())],
        Events = [],
        Violations = [],
        Unknown = [$"the run could not be made: {exception}"],
        Counts = new Dictionary<string, long>(),
        Workloads = [],
        Output = deployment is null ? new Dictionary<string, Func<string>>() : FaultRun.OutputOf(deployment),
    };

    /// <summary>What is kept of the run: one line of JSON.</summary>
    public string ToLine() => JsonSerializer.Serialize(this, Json);

    /// <summary>Of such a line.</summary>
    public static RunReport Parse(string line) => JsonSerializer.Deserialize<RunReport>(line, Json) ?? throw new FormatException($"No report of a run: {line}");

    /// <summary>Adds the run to the reports, and tells anew what all of them came to; what was recorded is kept where it did not pass.</summary>
    public void Save()
    {
        lock (Writing)
        {
            System.IO.Directory.CreateDirectory(Directory);
            var runs = Path.Combine(Directory, "runs.jsonl");
            File.AppendAllText(runs, ToLine() + "\n");
            File.WriteAllText(Path.Combine(Directory, "series.md"), SeriesReport.Of([.. File.ReadLines(runs).Select(Parse)]));
        }

        if (Verdict == "pass")
            return;
        var kept = Path.Combine(Directory, string.Create(CultureInfo.InvariantCulture, $"{Schedule}-{Seed}-on-{Version}"));
        System.IO.Directory.CreateDirectory(kept);
        File.WriteAllText(Path.Combine(kept, "report.txt"), ToString());
        foreach (var history in Histories)
            Write(history.Name, history.Steps.OrderBy(step => step.Invoked));
        foreach (var (name, lines) in Records)
            Write(name, lines);
        if (Log is not null)
            Write("etcd", [new { Log.InitialRevision, Log.Initial }, .. Log.Revisions]);
        foreach (var (process, output) in Output)
            File.WriteAllText(Path.Combine(kept, $"{process}.log"), output());

        void Write(string name, IEnumerable<object> lines) =>
            File.WriteAllLines(Path.Combine(kept, name.Replace(' ', '-') + ".jsonl"), lines.Select(line => JsonSerializer.Serialize(line, line.GetType(), Json)));
    }

    public override string ToString()
    {
        var text = new StringBuilder();
        text.AppendLine(CultureInfo.InvariantCulture, $"{Verdict}: {Schedule}, seed {Seed}, etcd {Version}, {Network}");
        Lines("violated", Violations);
        Lines("unknown", Unknown);
        Lines("faults", Faults);
        Lines("what was done", Events);
        foreach (var workload in Workloads)
            text.AppendLine(CultureInfo.InvariantCulture, $"  {workload.Name}: {workload.Succeeded} succeeded, {workload.Failed} not; longest outage {workload.LongestOutage:0} ms, worked again {workload.RecoveredAfter:0} ms after etcd did, the faults being over");
        foreach (var (what, count) in Counts)
            text.AppendLine(CultureInfo.InvariantCulture, $"  {what}: {count}");
        return text.ToString();

        void Lines(string title, IReadOnlyList<string> lines)
        {
            if (lines.Count > 0)
                text.AppendLine(CultureInfo.InvariantCulture, $"  {title}:");
            foreach (var line in lines.Take(50))
                text.AppendLine(CultureInfo.InvariantCulture, $"    {line}");
        }
    }

    private static string Repository()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "Orleans.Etcd.sln")))
                return directory.FullName;
        }

        return AppContext.BaseDirectory;
    }
}
