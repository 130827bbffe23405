using System.Collections.Immutable;
using System.Globalization;
using Orleans.Etcd.FaultTests.Histories;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The table as a register: its version and what was last written in each row. Every write has its own text.</summary>
internal sealed record TableState(int Version, ImmutableSortedDictionary<int, string> Rows)
{
    public static readonly TableState Empty = new(0, ImmutableSortedDictionary<int, string>.Empty);

    public string Text => $"v{Version} {string.Join(" ", Rows.Select(row => $"{row.Key}={row.Value}"))}";

    public static TableState Of(MembershipTableData data) => new(
        data.Version.Version,
        data.Members.ToImmutableSortedDictionary(member => member.Item1.SiloAddress.Endpoint.Port - 10_000, member => Row(member.Item1)));

    /// <summary>What is compared of a row.</summary>
    public static string Row(MembershipEntry entry) =>
        string.Join(' ', [entry.SiloName, $"{entry.Status}", .. (entry.SuspectTimes ?? []).Select(suspect => string.Create(CultureInfo.InvariantCulture, $"{suspect.Item1.Endpoint.Port}@{suspect.Item2:s}"))]);
}

/// <summary>A read or a write of the table.</summary>
internal sealed record TableStep(int Process, string Action) : Step(Process, Action)
{
    /// <summary>Which silo's row; null for all.</summary>
    public int? Silo { get; init; }

    /// <summary>What a read answered; null for a write.</summary>
    public TableState? Seen { get; init; }

    /// <summary>The version that a write was based on.</summary>
    public int BaseVersion { get; init; }

    /// <summary>The text of the row that the row's token was read with; null for an insert.</summary>
    public string? Over { get; init; }

    public string? Written { get; init; }

    public bool Won { get; init; }

    /// <summary>Which instance of the table was asked.</summary>
    public int Instance { get; init; }

    public override string Capability => CapabilityOf(Action, Instance);

    public static string CapabilityOf(string action, int instance) => $"{action} of instance {instance}";

    public override bool Succeeded => base.Succeeded && (Written is null || Won);

    /// <summary>The state after this step, or null where it cannot have been answered so.</summary>
    public TableState? Apply(TableState state)
    {
        if (Seen is not null)
        {
            var rows = Silo is { } only ? state.Rows.RemoveRange(state.Rows.Keys.Where(other => other != only)) : state.Rows;
            return Seen.Text == (state with { Rows = rows }).Text ? state : null;
        }

        var silo = Silo!.Value;
        var wins = state.Version == BaseVersion && state.Rows.GetValueOrDefault(silo) == Over;
        // Without an answer it did what it would have done, which is nothing where it met a conflict.
        if (Outcome == Outcome.Unknown)
            return wins ? new TableState(BaseVersion + 1, state.Rows.SetItem(silo, Written!)) : null;
        // False means a conflict and nothing else, so a write that could have won here must have.
        if (wins != Won)
            return null;
        return Won ? new TableState(BaseVersion + 1, state.Rows.SetItem(silo, Written!)) : state;
    }
}

/// <summary>Whether all that was read from and written to a table fits into one order.</summary>
internal static class TableChecker
{
    public static Verdict Check(IEnumerable<TableStep> steps) => Linearizability.Check(
        // A read that failed says nothing, and a write that surely was not made is none.
        steps.Where(step => step.Outcome == Outcome.Ok || (step.Outcome == Outcome.Unknown && step.Written is not null)).Select(step => new Operation<TableState>(step.Process, step.Invoked, step.Returned, step.Apply)),
        TableState.Empty,
        state => state.Text);
}
