using System.Collections.Concurrent;
using System.Collections.Immutable;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>The table as a register: its version and what was last written in each row. Every write has its own text.</summary>
internal sealed record TableState(int Version, ImmutableSortedDictionary<int, string> Rows)
{
    public static readonly TableState Empty = new(0, ImmutableSortedDictionary<int, string>.Empty);

    public string Text => $"v{Version} {string.Join(" ", Rows.Select(row => $"{row.Key}={row.Value}"))}";

    public static TableState Of(MembershipTableData data) => new(
        data.Version.Version,
        data.Members.ToImmutableSortedDictionary(member => member.Item1.SiloAddress.Endpoint.Port - 10_000, member => member.Item1.SiloName));
}

/// <summary>What several processes asked of a table and were answered, each step as data so that it can be falsified.</summary>
internal sealed class TableHistory
{
    private readonly ConcurrentQueue<Step> _steps = [];
    private long _clock;

    public IReadOnlyList<Step> Steps => [.. _steps];

    public async Task<MembershipTableData> ReadAsync(int process, int? silo, Func<Task<MembershipTableData>> read)
    {
        var asked = Interlocked.Increment(ref _clock);
        var data = await read();
        _steps.Enqueue(new(process, asked, Interlocked.Increment(ref _clock)) { Seen = TableState.Of(data), Silo = silo });
        return data;
    }

    /// <summary>Over is the text that the row token was read with; null for an insert.</summary>
    public async Task<bool> WriteAsync(int process, int silo, int baseVersion, string? over, string text, Func<Task<bool>> write)
    {
        var asked = Interlocked.Increment(ref _clock);
        var won = await write();
        _steps.Enqueue(new(process, asked, Interlocked.Increment(ref _clock)) { Silo = silo, BaseVersion = baseVersion, Over = over, Written = text, Won = won });
        return won;
    }

    public static bool IsLinearizable(IEnumerable<Step> steps) =>
        Linearizability.Holds(steps.Select(step => new Operation<TableState>(step.Process, step.Asked, step.Answered, step.Apply)), TableState.Empty, state => state.Text);

    internal sealed record Step(int Process, long Asked, long Answered)
    {
        public int? Silo { get; init; }

        /// <summary>What a read answered; null for a write.</summary>
        public TableState? Seen { get; init; }

        public int BaseVersion { get; init; }

        public string? Over { get; init; }

        public string? Written { get; init; }

        public bool Won { get; init; }

        /// <summary>The state after this step, or null where it cannot have been answered so.</summary>
        public TableState? Apply(TableState state)
        {
            if (Seen is not null)
            {
                var rows = Silo is { } only ? state.Rows.RemoveRange(state.Rows.Keys.Where(other => other != only)) : state.Rows;
                return Seen.Text == (state with { Rows = rows }).Text ? state : null;
            }

            // False means a conflict and nothing else, so a write that could have won here must have.
            var silo = Silo!.Value;
            var wins = state.Version == BaseVersion && state.Rows.GetValueOrDefault(silo) == Over;
            if (wins != Won)
                return null;
            return Won ? new TableState(BaseVersion + 1, state.Rows.SetItem(silo, Written!)) : state;
        }
    }
}
