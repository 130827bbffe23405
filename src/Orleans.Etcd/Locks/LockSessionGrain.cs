using System.Collections.Immutable;
using Etcdserverpb;
using Orleans.Concurrency;

namespace Orleans.Etcd;

/// <summary>Asks etcd on behalf of those who cannot, and remembers nothing.</summary>
[Reentrant, StatelessWorker]
internal sealed class LockSessionGrain(IServiceProvider services) : Grain, ILockSessionGrain
{
    // As for waits in queues: once the silo stops, a call that waits keeps others waiting behind it.
    private readonly CancellationToken _stopping = LockQueues.Required<LockQueues>(services).Stopping;
    private readonly SessionStore _store = LockQueues.Required<SessionStore>(services);

    public async Task<LockSessionGrant> Open(TimeSpan ttl, string? owner)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ttl, TimeSpan.FromSeconds(2));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ttl, TimeSpan.FromMinutes(10));
        var request = new LeaseGrantRequest { ID = Random.Shared.NextInt64(1, long.MaxValue), TTL = (long)Math.Ceiling(ttl.TotalSeconds) };
        var lease = await _store.Etcd.GrantAsync(request, CancellationToken.None).ConfigureAwait(true);
        var revision = await _store.AnnounceAsync(lease.ID, owner, CancellationToken.None).ConfigureAwait(true);
        return new LockSessionGrant(lease.ID, TimeSpan.FromSeconds(lease.TTL), revision);
    }

    public async Task<TimeSpan> Renew(long session)
    {
        var ttl = await _store.Etcd.RenewOnceAsync(session, CancellationToken.None).ConfigureAwait(true);
        return ttl > TimeSpan.Zero ? ttl : TimeSpan.Zero;
    }

    public async Task Close(long session)
    {
        try
        {
            await _store.Etcd.RevokeAsync(session, CancellationToken.None).ConfigureAwait(true);
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
        {
            // It has ended already.
        }
    }

    public async Task<LockSessionState> Watch(long session, int known)
    {
        var view = _store.View(session);
        await using var _ = view.ConfigureAwait(true);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stopping);
        limit.CancelAfter(LockQueue.CallLimit);
        try
        {
            return await _store.WatchAsync(view, session, known, limit.Token).ConfigureAwait(true);
        }
        catch (OperationCanceledException) when (limit.IsCancellationRequested)
        {
            return view.Snapshot is { } snapshot
                ? SessionStore.State(_store.Layout(session), snapshot)
                : throw new EtcdException(EtcdErrorCode.Unavailable, "Watch", $"The session could not be read from etcd at {_store.Etcd.Description}. {view.LastError?.Message}", outcomeUnknown: false);
        }
    }

    public Task<ImmutableArray<string>> GetKeys(long session) => _store.KeysAsync(session, CancellationToken.None);

    public Task Remove(long session, string key) => _store.RemoveAsync(session, key, CancellationToken.None);
}
