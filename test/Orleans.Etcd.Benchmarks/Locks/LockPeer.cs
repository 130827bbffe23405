namespace Orleans.Etcd.Benchmarks;

/// <summary>Acquires the lock of that name; disposing what it answers releases it.</summary>
internal delegate Task<IAsyncDisposable> Acquire(string name);

/// <summary>One way to have a lock.</summary>
/// <param name="Name">As it appears in the report.</param>
/// <param name="OpenAsync">What one contender needs, such as a session of its own.</param>
internal sealed record LockPeer(string Name, Func<Task<Acquire>> OpenAsync)
{
    /// <summary>How many can wait for a lock at once on this machine, where that is limited.</summary>
    public int MostWaiting { get; init; } = int.MaxValue;

    /// <summary>One that acquires and releases a lock, one whose name is the same each time or always another.</summary>
    public async Task<Contender> CycleAsync(Func<string> name)
    {
        var acquire = await OpenAsync();
        return new Contender(Name, async () => await (await acquire(name())).DisposeAsync());
    }
}
