namespace Orleans.Etcd;

/// <summary>
/// What all grains that broker a lock offer; the grain's key is the lock's name. Most want <c>grains.GetLock(name)</c>
/// instead, which keeps a session and asks again by itself.
/// </summary>
/// <remarks>
/// <para>etcd is the truth and a grain only brokers: the queue is the keys under the lock's prefix in order of their
/// create_revision. Any activation can answer any call, and two at once grant nothing twice; the death of the grain's silo
/// loses no lock and no place in the queue. Calls interleave: one that waits keeps none waiting.</para>
/// <para>Every call that needs etcd fails with <see cref="EtcdException"/> while that cannot be reached; all may be repeated.</para>
/// </remarks>
public interface ILockQueueGrain : IGrainWithStringKey
{
    /// <summary>Asks for it, or asks again what became of an earlier wish.</summary>
    /// <param name="request">The wish.</param>
    /// <returns>What became of it; within the shorter of its wait and 10 s, and what etcd takes.</returns>
    /// <exception cref="ArgumentException">The lock's name or the request is not usable; nothing was written.</exception>
    Task<LockAnswer> Acquire(LockRequest request);

    /// <summary>
    /// Gives back what was granted. Never touches a successor; harmless when repeated. Who calls it holds nothing any more, also where the
    /// call fails: the next may be told at once. Then it is to be repeated, since others wait until etcd knows.
    /// </summary>
    /// <param name="request">The request that was granted.</param>
    /// <param name="token">The token that it was granted.</param>
    /// <returns>Whether it was still held; also where this call had to be sent to etcd again, and it was gone then.</returns>
    Task<bool> Release(LockRequest request, long token);

    /// <summary>Ends a wish, whether it waits or was granted unseen; a late copy of it is not granted by this activation.</summary>
    /// <param name="request">The request.</param>
    /// <returns>A task that ends when nothing is left of it.</returns>
    Task Cancel(LockRequest request);

    /// <summary>Reads who holds it. Not a thing to decide by: it may be different by the time it is read.</summary>
    /// <returns>The holders, of our kind and of others.</returns>
    Task<LockStatus> GetStatus();

    /// <summary>
    /// Takes it away from a holder that does not give it back, of whatever program, or from a waiter its place. A holder of our kind sees its
    /// <c>LostToken</c> within a moment; one of another program does not notice, so that only the token guards the store.
    /// </summary>
    /// <param name="token">The holder's token, from <see cref="GetStatus"/>.</param>
    /// <returns>Whether a holder or waiter had that token.</returns>
    Task<bool> ForceRelease(long token);
}

/// <summary>A mutex: one holder, in the layout of Go's <c>concurrency.Mutex</c>, <c>etcdctl lock</c> and etcd's own lock service.</summary>
/// <inheritdoc cref="ILockQueueGrain" path="/remarks" />
[Alias("Orleans.Etcd.ILockGrain")]
public interface ILockGrain : ILockQueueGrain;

/// <summary>A semaphore: as many holders as <see cref="LockRequest.Permits"/> says.</summary>
/// <inheritdoc cref="ILockQueueGrain" path="/remarks" />
[Alias("Orleans.Etcd.ISemaphoreGrain")]
public interface ISemaphoreGrain : ILockQueueGrain;

/// <summary>
/// A reader-writer lock: one writer, or any number of readers. First come, first served: a reader does not overtake a
/// writer that waits. Not to be shared with other programs: the RWMutex of etcd's Go recipes, whose keys look alike, goes by
/// the revisions of changes and not of creations.
/// </summary>
/// <inheritdoc cref="ILockQueueGrain" path="/remarks" />
[Alias("Orleans.Etcd.IReadWriteLockGrain")]
public interface IReadWriteLockGrain : ILockQueueGrain;
