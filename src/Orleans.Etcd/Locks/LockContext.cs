namespace Orleans.Etcd;

/// <summary>What all locks of a process share.</summary>
internal sealed class LockContext(Func<LockKind, string, ILockQueueGrain> grain, LockSessions sessions, TimeProvider time)
{
    private readonly CancellationTokenSource _stopping = new();

    public LockSessions Sessions => sessions;

    /// <summary>Cancelled when nobody is to wait for a lock here any more.</summary>
    public CancellationToken Stopping => _stopping.Token;

    public TimeProvider Time => time;

    /// <inheritdoc cref="Configuration.EtcdLockOptions.Owner" />
    public required string Owner { get; init; }

    /// <inheritdoc cref="Configuration.EtcdLockOptions.ReleaseTimeout" />
    public required TimeSpan ReleaseTimeout { get; init; }

    /// <inheritdoc cref="Configuration.EtcdLockOptions.OutageTimeout" />
    public required TimeSpan OutageTimeout { get; init; }

    /// <inheritdoc cref="LockRequest.MaxCall" />
    public required TimeSpan MaxCall { get; init; }

    /// <summary>Ends all waits here, and lets nobody begin one: what is free can still be had, and what is held be released.</summary>
    public Task EndWaitsAsync() => _stopping.CancelAsync();

    public ILockQueueGrain Grain(LockKind kind, string name) => grain(kind, name);

    public static ILockQueueGrain GrainOf(IGrainFactory grains, LockKind kind, string name) => kind switch
    {
        LockKind.Semaphore => grains.GetGrain<ISemaphoreGrain>(name),
        LockKind.ReadWrite => grains.GetGrain<IReadWriteLockGrain>(name),
        _ => grains.GetGrain<ILockGrain>(name),
    };
}
