namespace Orleans.Etcd;

/// <summary>
/// Locks over the whole service, shared with Go programs, <c>etcdctl lock</c> and etcd's lock service. Thread safe.
/// Registered by <c>AddEtcdLocks()</c>; <c>grains.GetLock(name)</c> leads to the same.
/// </summary>
/// <example><code>
/// await using var held = await locks.GetLock("invoice-42").AcquireAsync(cancellationToken);
/// await store.WriteAsync(invoice, held.FencingToken, held.LostToken);
/// </code></example>
public interface ILocks
{
    /// <summary>A mutex.</summary>
    /// <param name="name">Any text of 1 to 1,024 characters that is valid Unicode; case matters.</param>
    /// <returns>The lock; nothing is sent.</returns>
    /// <exception cref="ArgumentException">The name cannot be a key.</exception>
    ILock GetLock(string name);

    /// <summary>A semaphore.</summary>
    /// <param name="name">As for a mutex; independent of a mutex of that name.</param>
    /// <param name="permits">
    /// How many may hold it at once: 1 to 100. All are to name the same number; where they differ, each waits until fewer
    /// than its own number are before it.
    /// </param>
    /// <returns>The semaphore, each permit with its token; nothing is sent.</returns>
    /// <exception cref="ArgumentException">The name cannot be a key.</exception>
    ILock GetSemaphore(string name, int permits);

    /// <summary>The readers' side of a reader-writer lock: any number of readers at once, and no writer.</summary>
    /// <param name="name">As for a mutex; independent of a mutex of that name.</param>
    /// <returns>The lock; nothing is sent.</returns>
    /// <exception cref="ArgumentException">The name cannot be a key.</exception>
    ILock GetReadLock(string name);

    /// <summary>The writers' side of a reader-writer lock: one writer at once, and no reader.</summary>
    /// <inheritdoc cref="GetReadLock" />
    ILock GetWriteLock(string name);

    /// <summary>
    /// Acquires several mutexes, one after another in the ordinal order of their names, so that those who do likewise, and
    /// hold no other locks meanwhile, never wait for each other in a circle.
    /// </summary>
    /// <param name="names">The names; one that comes twice is acquired once.</param>
    /// <param name="cancellationToken">Ends the wait; nothing stays held.</param>
    /// <returns>All of them.</returns>
    /// <exception cref="EtcdException">etcd could not be reached; nothing stays held.</exception>
    Task<ILockSetHandle> AcquireAllAsync(IEnumerable<string> names, CancellationToken cancellationToken = default);

    /// <summary>As <see cref="AcquireAllAsync"/>, within a wait.</summary>
    /// <param name="names">The names; one that comes twice is acquired once.</param>
    /// <param name="wait">How long all of it may take; zero: only if all are free, one after another: the first are held while the last is looked at.</param>
    /// <param name="cancellationToken">Ends the wait; nothing stays held.</param>
    /// <returns>All of them, or null.</returns>
    /// <exception cref="EtcdException">etcd could not be reached; nothing stays held.</exception>
    Task<ILockSetHandle?> TryAcquireAllAsync(IEnumerable<string> names, TimeSpan wait = default, CancellationToken cancellationToken = default);
}

/// <summary>A lock that can be acquired. Thread safe; each acquisition excludes the others, also those of this process.</summary>
public interface ILock
{
    /// <summary>Its name.</summary>
    string Name { get; }

    /// <summary>
    /// Waits for the lock. First come, first served, over all silos, clients and other programs; survives the death of the
    /// silo that brokers it, keeping its place, and outages of etcd up to <c>EtcdLockOptions.OutageTimeout</c>.
    /// </summary>
    /// <param name="cancellationToken">Ends the wait at once; the place in the queue is given up in the background.</param>
    /// <returns>The held lock.</returns>
    /// <exception cref="OperationCanceledException">The token was cancelled. Nothing stays held.</exception>
    /// <exception cref="EtcdException">etcd refuses, or could not be reached for longer than the timeout. Nothing stays held.</exception>
    /// <exception cref="TimeoutException">No silo answered for longer than the timeout. Nothing stays held.</exception>
    /// <exception cref="ObjectDisposedException">The silo or client stops; a silo lets nobody wait as soon as it begins to. Nothing stays held.</exception>
    /// <exception cref="OrleansException">No silo could be reached for longer than the timeout. Nothing stays held.</exception>
    Task<ILockHandle> AcquireAsync(CancellationToken cancellationToken = default);

    /// <summary>Acquires the lock if that is possible within a wait.</summary>
    /// <param name="wait">How long; zero: only if it is free, without ever standing in anybody's way.</param>
    /// <param name="cancellationToken">Ends the wait at once.</param>
    /// <returns>The held lock, or null where others held it all the time.</returns>
    /// <exception cref="OperationCanceledException">The token was cancelled. Nothing stays held.</exception>
    /// <exception cref="EtcdException">etcd refuses, or could not be reached until the wait was over. Nothing stays held.</exception>
    /// <exception cref="TimeoutException">Neither a silo nor etcd answered within 6 s after the wait. Nothing stays held.</exception>
    /// <exception cref="ObjectDisposedException">The silo or client stops; a silo lets nobody wait as soon as it begins to. Nothing stays held.</exception>
    /// <exception cref="OrleansException">No silo could be reached until the wait was over. Nothing stays held.</exception>
    Task<ILockHandle?> TryAcquireAsync(TimeSpan wait = default, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="ILockQueueGrain.GetStatus" />
    Task<LockStatus> GetStatusAsync();

    /// <inheritdoc cref="ILockQueueGrain.ForceRelease" />
    Task<bool> ForceReleaseAsync(long token);
}
