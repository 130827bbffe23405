namespace Orleans.Etcd.Benchmarks;

/// <summary>One of those that do the same thing in their own way.</summary>
/// <param name="Name">As it appears in the report.</param>
/// <param name="Operation">What is timed.</param>
internal sealed record Contender(string Name, Func<Task> Operation)
{
    /// <summary>What each operation needs beforehand; not timed.</summary>
    public Func<Task> Prepare { get; init; } = static () => Task.CompletedTask;

    /// <summary>What follows each, such as a look at its result; not timed.</summary>
    public Func<Task> Conclude { get; init; } = static () => Task.CompletedTask;
}
