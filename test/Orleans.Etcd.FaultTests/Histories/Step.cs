using System.Text.Json.Serialization;

namespace Orleans.Etcd.FaultTests.Histories;

/// <summary>How an operation ended, as far as its caller knows.</summary>
internal enum Outcome
{
    Ok,

    /// <summary>It surely did nothing.</summary>
    Fail,

    /// <summary>It may have been done, or may yet be.</summary>
    Unknown,
}

/// <summary>One operation: who asked, when, and what came of it. Workloads add what their checkers need.</summary>
/// <remarks>Times are microseconds of the machine's monotonic clock, the same in every process and untouched by jumps.</remarks>
internal record Step(int Process, string Action)
{
    public long Invoked { get; init; }

    public long Ended { get; init; }

    public Outcome Outcome { get; init; }

    /// <summary>What it failed with.</summary>
    public string? Error { get; init; }

    /// <summary>What works where this was done; one step may show more of it than its kind.</summary>
    [JsonIgnore]
    public virtual string Capability => Action;

    /// <summary>Whether it did what was asked: an answer that there was a conflict shows less.</summary>
    [JsonIgnore]
    public virtual bool Succeeded => Outcome == Outcome.Ok;

    /// <summary>When it was over for others: one of unknown outcome stays open for ever.</summary>
    [JsonIgnore]
    public long Returned => Outcome == Outcome.Unknown ? long.MaxValue : Ended;
}
