using System.Collections.Immutable;
using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>What etcd knows of sessions, for processes that reach it and for the grain that asks for others.</summary>
internal sealed class SessionStore(EtcdConnection etcd, string serviceId)
{
    public EtcdConnection Etcd => etcd;

    public SessionLayout Layout(long session) => new(etcd.Options.KeyPrefix, serviceId, session);

    /// <summary>Says that the session is there, once; answers the revision at which it was.</summary>
    public async Task<long> AnnounceAsync(long session, string? owner, CancellationToken cancellationToken)
    {
        var key = Layout(session).StateKey;
        var txn = new TxnRequest
        {
            Compare = { Txn.CreateRevisionIs(key, 0) },
            Success = { Txn.Put(key, new SessionValue { Owner = owner, Since = etcd.Time.GetUtcNow() }.Encode(), session) },
            Failure = { Txn.Get(key) },
        };
        var response = await etcd.TxnRepeatablyAsync(txn, cancellationToken).ConfigureAwait(false);
        return response.Succeeded ? response.Header.Revision : response.Responses[0].ResponseRange.Kvs[0].CreateRevision;
    }

    /// <summary>A view of the session's keys.</summary>
    public LiveView View(long session) => new(etcd, Layout(session).Prefix);

    /// <summary>Waits until the session has ended or more was taken from it than is known.</summary>
    public async Task<LockSessionState> WatchAsync(LiveView view, long session, int known, CancellationToken cancellationToken)
    {
        var layout = Layout(session);
        return State(layout, await view.WaitAsync(snapshot => State(layout, snapshot) is var state && (!state.IsAlive || state.Forced.Length > known), cancellationToken).ConfigureAwait(false));
    }

    public async Task<ImmutableArray<string>> KeysAsync(long session, CancellationToken cancellationToken)
    {
        var lease = await etcd.TimeToLiveAsync(session, keys: true, cancellationToken).ConfigureAwait(false);
        return [.. lease.Keys.Select(key => key.ToStringUtf8())];
    }

    public Task RemoveAsync(long session, string key, CancellationToken cancellationToken)
    {
        var bytes = ByteString.CopyFromUtf8(key);
        return etcd.TxnRepeatablyAsync(new TxnRequest { Compare = { Txn.LeaseIs(bytes, session) }, Success = { Txn.Delete(bytes) } }, cancellationToken);
    }

    public static LockSessionState State(SessionLayout layout, RangeSnapshot snapshot) =>
        new(snapshot.Values.ContainsKey(layout.StateKey), [.. layout.Forced(snapshot)]);
}
