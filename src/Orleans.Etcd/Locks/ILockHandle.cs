namespace Orleans.Etcd;

/// <summary>
/// A lock that is held, until it is disposed or lost. Renewed by itself, together with all others of the process.
/// </summary>
/// <remarks>
/// <para>What its holder still has, by failure:</para>
/// <list type="bullet">
/// <item>The silo that brokered it dies: everything. The lock lives in etcd and is renewed from here.</item>
/// <item>etcd is away for less than two thirds of <c>EtcdLockOptions.SessionTtl</c>, less 1.5 s: everything. Where the session goes through silos, since the client does not reach etcd, a quarter of the time less.</item>
/// <item>etcd is away for longer: nothing; <see cref="LostToken"/> is cancelled before etcd can give the lock to another.</item>
/// <item>This process is frozen for longer than the TTL, or its clock and timers do not run: nothing, and it learns so only
/// when it runs again. Meanwhile the store that it writes to has only <see cref="FencingToken"/> to tell it from its successor.</item>
/// <item>etcd revokes a live lease, as a leader does that was itself frozen for longer than the TTL, or somebody releases the
/// lock by force: nothing; <see cref="LostToken"/> is cancelled as soon as the deletion of the key is seen, which is after it.</item>
/// <item>Its key is deleted by hand: nothing; <see cref="LostToken"/> is cancelled within two thirds of the TTL.</item>
/// </list>
/// <para>Thread safe.</para>
/// </remarks>
public interface ILockHandle : IAsyncDisposable
{
    /// <summary>The lock's name.</summary>
    string Name { get; }

    /// <summary>
    /// Higher than that of every holder of this lock before it, of whatever program. A store that refuses a token lower than
    /// the highest it has seen, as <see cref="FencedWrite"/> does in etcd, is safe where no lock alone can be.
    /// </summary>
    /// <remarks>The create_revision of the holder's key in etcd. Tokens of two locks say nothing of each other.</remarks>
    long FencingToken { get; }

    /// <summary>
    /// Cancelled once the lock must be taken for lost; not when it is disposed. Callbacks run on the thread pool, not on a
    /// grain's scheduler.
    /// </summary>
    CancellationToken LostToken { get; }

    /// <summary>
    /// How long it is sure to be held even if nothing reaches etcd any more, by this process's monotonic clock; zero once it
    /// is lost or released. Exact, also when <see cref="LostToken"/> is late.
    /// </summary>
    TimeSpan Remaining { get; }
}

/// <summary>Several locks held at once; disposing it releases all. Thread safe.</summary>
public interface ILockSetHandle : IAsyncDisposable
{
    /// <summary>The locks by their names.</summary>
    IReadOnlyDictionary<string, ILockHandle> Locks { get; }

    /// <summary>Cancelled once any of them must be taken for lost.</summary>
    CancellationToken LostToken { get; }
}
