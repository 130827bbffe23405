using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A lease as a session of Go's etcd client has one, on which its mutexes hang.</summary>
internal sealed class GoSession
{
    // Longer than any benchmark: nothing has to renew it.
    private const int TtlSeconds = 3600;

    private GoSession(BareEtcd bare, GoWatches watches, long lease) => (Bare, Watches, Lease) = (bare, watches, lease);

    public BareEtcd Bare { get; }

    public GoWatches Watches { get; }

    public long Lease { get; }

    public static LockPeer Peer(BareEtcd bare, GoWatches watches) => new("Go's Mutex", async () =>
    {
        var granted = await bare.Leases.LeaseGrantAsync(new LeaseGrantRequest { TTL = TtlSeconds });
        var session = new GoSession(bare, watches, granted.ID);
        return name => new GoMutex(session, name).LockAsync();
    });
}

/// <summary>
/// Go's <c>concurrency.Mutex</c>, request by request: a wait reads who is next before it, and watches that key from the
/// revision of the answer on.
/// </summary>
internal sealed class GoMutex(GoSession session, string name) : IAsyncDisposable
{
    private readonly ByteString _prefix = ByteString.CopyFromUtf8($"go/{name}/");
    private readonly ByteString _rangeEnd = EtcdKeys.RangeEnd($"go/{name}/");
    private readonly ByteString _key = ByteString.CopyFromUtf8($"go/{name}/{session.Lease:x}");

    public async Task<IAsyncDisposable> LockAsync()
    {
        var first = new RequestOp { RequestRange = Range(RangeRequest.Types.SortOrder.Ascend) };
        var entered = await session.Bare.KV.TxnAsync(new TxnRequest
        {
            Compare = { Txn.CreateRevisionIs(_key, 0) },
            Success = { Txn.Put(_key, ByteString.Empty, session.Lease), first },
            Failure = { Txn.Get(_key), first },
        });
        var mine = entered.Succeeded ? entered.Header.Revision : entered.Responses[0].ResponseRange.Kvs[0].CreateRevision;
        if (entered.Responses[1].ResponseRange.Kvs is [var owner, ..] && owner.CreateRevision != mine)
            await WaitAsync(mine);
        return this;
    }

    public async ValueTask DisposeAsync() =>
        Require.That((await session.Bare.KV.DeleteRangeAsync(new DeleteRangeRequest { Key = _key })).Deleted == 1, $"unlock {name}");

    private async Task WaitAsync(long mine)
    {
        var last = Range(RangeRequest.Types.SortOrder.Descend);
        last.MaxCreateRevision = mine - 1;
        while (await session.Bare.KV.RangeAsync(last) is { Kvs: [var before, ..] } read)
            await session.Watches.DeletedAsync(before.Key, read.Header.Revision);
        if ((await session.Bare.KV.RangeAsync(new RangeRequest { Key = _key })).Kvs.Count == 0)
            throw new InvalidOperationException("The session of a Go mutex has expired.");
    }

    private RangeRequest Range(RangeRequest.Types.SortOrder order) => new()
    {
        Key = _prefix,
        RangeEnd = _rangeEnd,
        SortTarget = RangeRequest.Types.SortTarget.Create,
        SortOrder = order,
        Limit = 1,
    };
}
