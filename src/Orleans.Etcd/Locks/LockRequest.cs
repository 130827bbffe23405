namespace Orleans.Etcd;

/// <summary>One wish to hold a lock, semaphore or reader-writer lock. Asked again under the same id it stays the same wish.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockRequest")]
public sealed record LockRequest
{
    /// <summary>The etcd lease that the request hangs on; when it ends, the request and what it was granted are gone.</summary>
    [Id(0)]
    public required long Session { get; init; }

    /// <summary>
    /// The revision of etcd at which the session was made (<see cref="LockSessionGrant.Revision"/>). A place is only made while that very
    /// session lasts: after an outage etcd may apply a late copy of the grant of its lease, and then one of the request, and what nobody
    /// wants any more would stand in others' way until that lease expires. Default 0: the lease is one without a session, and need only be there.
    /// </summary>
    [Id(8)]
    public long SessionRevision { get; init; }

    /// <summary>
    /// Names the wish within its session: 1 to 64 characters. Used again only for the same lock, with a higher <see cref="Attempt"/>,
    /// after its release was confirmed, and where each of its calls was answered and none was a cancellation.
    /// </summary>
    [Id(1)]
    public required string RequestId { get; init; }

    /// <summary>
    /// For how long it may wait in all, from now on. Zero: not at all. A wait that nobody asks for any more is removed about
    /// a minute after its first call has ended, where somebody asks for the lock; if its silo died in that call, or had no answer from etcd at first, with its session.
    /// </summary>
    [Id(2)]
    public TimeSpan MaxWait { get; init; }

    /// <summary>
    /// For how long one call may take of that; then it answers <see cref="LockOutcome.Queued"/>, and the same is to be asked
    /// again. Default 10 s, which is the most: no call is to outlive Orleans' response timeout.
    /// </summary>
    [Id(6)]
    public TimeSpan MaxCall { get; init; } = TimeSpan.FromSeconds(10);

    /// <summary>Who it is, for people; at most 256 characters.</summary>
    [Id(3)]
    public string? Owner { get; init; }

    /// <summary>
    /// How many may hold it at once: 1 but for semaphores, which allow up to 100. All who use one semaphore are to name the same number; where they
    /// differ, each waits until fewer than its own number are before it.
    /// </summary>
    [Id(4)]
    public int Permits { get; init; } = 1;

    /// <summary>Whether other readers may hold it at the same time; reader-writer locks only.</summary>
    [Id(5)]
    public bool IsRead { get; init; }

    /// <summary>
    /// Tells wishes under one <see cref="RequestId"/> apart: higher for each. What is said of one also goes for all before it.
    /// Default 0.
    /// </summary>
    [Id(7)]
    public long Attempt { get; init; }

    /// <summary>
    /// Whether no call of this wish was made before, and its answer counts for nothing once another has been made. Only such a one is told
    /// of its turn as soon as the one before it is released, before etcd has written that. A copy of the call, as Orleans may send where a
    /// connection breaks, leaves the wish as it is, and may answer <see cref="LockOutcome.Queued"/> although its wait is over. Default false.
    /// </summary>
    [Id(9)]
    public bool IsFirstCall { get; init; }
}

/// <summary>What became of a <see cref="LockRequest"/>.</summary>
/// <param name="Outcome">What became of it.</param>
/// <param name="Token">The fencing token of what was granted; else 0.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockAnswer")]
public readonly record struct LockAnswer([property: Id(0)] LockOutcome Outcome, [property: Id(1)] long Token);

/// <summary>What became of a <see cref="LockRequest"/>.</summary>
public enum LockOutcome
{
    /// <summary>It has its place in the queue and keeps it; ask again.</summary>
    Queued,

    /// <summary>Held, until it is released or its session ends.</summary>
    Granted,

    /// <summary>Not free within the wait. Nothing is left of the request.</summary>
    NotFree,

    /// <summary>The session has ended. Nothing is left of the request.</summary>
    SessionLost,

    /// <summary>It was released or cancelled before. Nothing is left of the request.</summary>
    Ended,
}
