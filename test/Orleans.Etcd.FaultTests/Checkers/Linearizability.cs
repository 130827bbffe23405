namespace Orleans.Etcd.FaultTests.Checkers;

internal enum Verdict
{
    Holds,
    Broken,

    /// <summary>The search was given up: that proves nothing.</summary>
    Unknown,
}

/// <summary>One operation: by whom, from when to when, and what it does to a state.</summary>
/// <param name="Process">Who asked; one asks one thing at a time.</param>
/// <param name="Asked">When.</param>
/// <param name="Answered">When; the largest number where the outcome is unknown: it may come at any time, or never.</param>
/// <param name="Apply">The state after it, or null where its answer is impossible in that state.</param>
internal sealed record Operation<TState>(int Process, long Asked, long Answered, Func<TState, TState?> Apply)
    where TState : class;

/// <summary>
/// Whether what several processes saw can have happened one after another, each operation at some moment between its call and
/// its answer: Wing and Gong's search, with Lowe's memory of configurations already tried.
/// </summary>
internal static class Linearizability
{
    private const int MostConfigurations = 2_000_000;

    /// <param name="history">All operations.</param>
    /// <param name="initial">The state before them.</param>
    /// <param name="fingerprint">Must tell states apart.</param>
    public static Verdict Check<TState>(IEnumerable<Operation<TState>> history, TState initial, Func<TState, string> fingerprint)
        where TState : class
    {
        // How far each process has come says which operations are done.
        var processes = history.GroupBy(operation => operation.Process).Select(group => group.OrderBy(operation => operation.Asked).ToArray()).ToArray();
        var tried = new HashSet<string>();
        var open = new Stack<(int[] Done, TState State)>();
        open.Push((new int[processes.Length], initial));
        while (open.TryPop(out var configuration))
        {
            var (done, state) = configuration;
            var next = processes.Select((operations, process) => done[process] < operations.Length ? operations[done[process]] : null).ToArray();
            // One of unknown outcome need never have happened.
            if (next.All(operation => operation is null or { Answered: long.MaxValue }))
                return Verdict.Holds;
            if (tried.Count > MostConfigurations)
                return Verdict.Unknown;
            // Whatever was asked after another's answer cannot come before it.
            var firstAnswer = next.Min(operation => operation?.Answered ?? long.MaxValue);
            for (var process = 0; process < next.Length; process++)
            {
                if (next[process] is not { } operation || operation.Asked > firstAnswer || operation.Apply(state) is not { } after)
                    continue;
                int[] reached = [.. done];
                reached[process]++;
                if (tried.Add($"{string.Join(',', reached)};{fingerprint(after)}"))
                    open.Push((reached, after));
            }
        }

        return Verdict.Broken;
    }
}
