using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>
/// Sessions for processes that cannot reach etcd themselves; any activation on any silo answers for all. Key 0. Those who use
/// <c>grains.GetLock(name)</c> need not know of it.
/// </summary>
/// <remarks>All calls fail with <see cref="EtcdException"/> while etcd cannot be reached; all but <see cref="Open"/> may be repeated.</remarks>
[Alias("Orleans.Etcd.ILockSessionGrain")]
public interface ILockSessionGrain : IGrainWithIntegerKey
{
    /// <summary>Makes a session. Unless it is renewed it ends, with all that hangs on it, when its time to live has passed.</summary>
    /// <param name="ttl">Its time to live: 2 s to 10 min, rounded up to whole seconds.</param>
    /// <param name="owner">Who it is, for people.</param>
    /// <returns>The session and the time to live that etcd granted, which may be more.</returns>
    Task<LockSessionGrant> Open(TimeSpan ttl, string? owner);

    /// <summary>Renews it.</summary>
    /// <param name="session">The session.</param>
    /// <returns>The time to live that it has again from now on, at least; zero if the session has ended.</returns>
    Task<TimeSpan> Renew(long session);

    /// <summary>Ends it, with all that hangs on it. One that has ended already is no error.</summary>
    /// <param name="session">The session.</param>
    /// <returns>A task that ends when it has.</returns>
    Task Close(long session);

    /// <summary>Waits, for at most 10 s, until the session has ended or more was taken from it by force than is known.</summary>
    /// <param name="session">The session.</param>
    /// <param name="known">How many of those taken away by force its owner knows of.</param>
    /// <returns>Whether it lives, and what was taken away.</returns>
    Task<LockSessionState> Watch(long session, int known);

    /// <summary>Reads what hangs on the session.</summary>
    /// <param name="session">The session.</param>
    /// <returns>Its keys; none if the session has ended.</returns>
    Task<ImmutableArray<string>> GetKeys(long session);

    /// <summary>Deletes a key that hangs on the session.</summary>
    /// <param name="session">The session.</param>
    /// <param name="key">The key.</param>
    /// <returns>A task that ends when it is gone.</returns>
    Task Remove(long session, string key);
}

/// <summary>A session as it was made.</summary>
/// <param name="Session">Its lease in etcd.</param>
/// <param name="Ttl">The time to live that etcd granted.</param>
/// <param name="Revision">The revision of etcd at which it was made: <see cref="LockRequest.SessionRevision"/>.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockSessionGrant")]
public readonly record struct LockSessionGrant([property: Id(0)] long Session, [property: Id(1)] TimeSpan Ttl, [property: Id(2)] long Revision);

/// <summary>What etcd says of a session.</summary>
/// <param name="IsAlive">Whether it is there.</param>
/// <param name="Forced">
/// What was taken away by force since it was made: <c>{session}-{request}/{token}</c>, since locks that were acquired at the same
/// moment have the same token.
/// </param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockSessionState")]
public sealed record LockSessionState([property: Id(0)] bool IsAlive, [property: Id(1)] ImmutableArray<string> Forced);
