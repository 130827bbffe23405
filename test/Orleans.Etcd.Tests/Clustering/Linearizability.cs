namespace Orleans.Etcd.Tests.Clustering;

/// <summary>An operation as its process saw it: asked at one tick of a common clock, answered at a later one.</summary>
internal sealed record Operation<TState>(int Process, long Asked, long Answered, Func<TState, TState?> Apply)
    where TState : class;

/// <summary>
/// Whether a history could have come from one copy of the state, each operation taking effect at one moment between its
/// question and its answer: Wing and Gong's search, with Lowe's memory of configurations already tried.
/// </summary>
internal static class Linearizability
{
    /// <summary>Whether there is an order. The fingerprint must tell states apart.</summary>
    /// <remarks>An operation's Apply answers the state after it, or null where its answer is impossible in that state.</remarks>
    public static bool Holds<TState>(IEnumerable<Operation<TState>> history, TState initial, Func<TState, string> fingerprint)
        where TState : class
    {
        // A process asks one thing at a time, so how far each has come says which operations are done.
        var processes = history.GroupBy(operation => operation.Process).Select(group => group.OrderBy(operation => operation.Asked).ToArray()).ToArray();
        var tried = new HashSet<string>();
        var open = new Stack<(int[] Done, TState State)>();
        open.Push((new int[processes.Length], initial));
        while (open.TryPop(out var configuration))
        {
            var (done, state) = configuration;
            var next = processes.Select((operations, process) => done[process] < operations.Length ? operations[done[process]] : null).ToArray();
            if (next.All(operation => operation is null))
                return true;
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

        return false;
    }
}
