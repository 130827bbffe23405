using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>
/// How one session of this process is kept: over a connection of its own, or through a grain. Disposing it ends all that
/// it does, and leaves the lease to its owner.
/// </summary>
internal interface ILockSessionLink : IAsyncDisposable
{
    /// <summary>The session, renewed.</summary>
    EtcdLease Lease { get; }

    /// <inheritdoc cref="LockRequest.SessionRevision" />
    long Revision { get; }

    /// <summary>Waits until the session has ended at etcd, or more than so many of its tokens were taken away, or for a while.</summary>
    Task<LockSessionState> WatchAsync(int known, CancellationToken cancellationToken);

    /// <inheritdoc cref="ILockSessionGrain.GetKeys" />
    Task<ImmutableArray<string>> KeysAsync(CancellationToken cancellationToken);

    /// <inheritdoc cref="ILockSessionGrain.Remove" />
    Task RemoveAsync(string key, CancellationToken cancellationToken);
}

/// <summary>The session of a process that reaches etcd.</summary>
internal sealed class EtcdSessionLink : ILockSessionLink
{
    private readonly SessionStore _store;
    private readonly LiveView _view;

    private EtcdSessionLink(SessionStore store, EtcdLease lease, long revision)
    {
        _store = store;
        (Lease, Revision) = (lease, revision);
        _view = store.View(lease.Id);
    }

    public EtcdLease Lease { get; }

    public long Revision { get; }

    public static async Task<ILockSessionLink> OpenAsync(SessionStore store, TimeSpan ttl, string owner, CancellationToken cancellationToken)
    {
        var lease = await store.Etcd.Leases.GrantAsync(ttl, cancellationToken).ConfigureAwait(false);
        try
        {
            return new EtcdSessionLink(store, lease, await store.AnnounceAsync(lease.Id, owner, cancellationToken).ConfigureAwait(false));
        }
        catch
        {
            // Nobody waits for that: etcd may be away.
            _ = Detached.Run(() => lease.DisposeAsync().AsTask());
            throw;
        }
    }

    public Task<LockSessionState> WatchAsync(int known, CancellationToken cancellationToken) => _store.WatchAsync(_view, Lease.Id, known, cancellationToken);

    public Task<ImmutableArray<string>> KeysAsync(CancellationToken cancellationToken) => _store.KeysAsync(Lease.Id, cancellationToken);

    public Task RemoveAsync(string key, CancellationToken cancellationToken) => _store.RemoveAsync(Lease.Id, key, cancellationToken);

    public ValueTask DisposeAsync() => _view.DisposeAsync();
}
