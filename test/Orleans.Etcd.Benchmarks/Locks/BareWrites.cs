using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// No locks, but what they cost etcd: keys on a lease that come and go, as single writes, or in the transactions of ours, but for
/// the comparison with the session's key.
/// </summary>
internal sealed class BareWrites(BareEtcd bare)
{
    private const int TtlSeconds = 3600;

    // As long as what our locks write there.
    private static readonly ByteString Value = ByteString.CopyFrom(new byte[100]);

    public LockPeer PutAndDelete => new("bare put + delete", async () =>
    {
        var lease = await GrantAsync();
        return async name =>
        {
            var key = await PutAsync(name, lease);
            return Deleting(key);
        };
    });

    /// <summary>As a lock has to: only where the key is not there.</summary>
    public LockPeer CreateAndDelete => new("bare create + delete", async () =>
    {
        var lease = await GrantAsync();
        return async name =>
        {
            var key = Key(name);
            var created = await bare.KV.TxnAsync(new TxnRequest { Compare = { Txn.CreateRevisionIs(key, 0) }, Success = { Txn.Put(key, Value, lease) } });
            Require.That(created.Succeeded, $"create {name}");
            return Deleting(key);
        };
    });

    public LockPeer Put => new("bare puts", async () =>
    {
        var lease = await GrantAsync();
        return async name =>
        {
            await PutAsync(name, lease);
            return new Release(static () => Task.CompletedTask);
        };
    });

    public LockPeer Transactions => new("bare, our transactions", async () =>
    {
        var lease = await GrantAsync();
        return async name =>
        {
            // The same each time, as ours are.
            var request = new LockRequest { Session = lease, RequestId = "1" };
            var claim = new LockLayout("bare", "locks", LockKind.Mutex, name).Claim(request);
            var entered = await bare.KV.TxnAsync(new TxnRequest
            {
                Compare = { Txn.CreateRevisionIs(claim.Key, 0) },
                Success = { Txn.Put(claim.Key, Value, lease), Txn.Get(claim.Ahead.First(limit: 1)) },
                Failure = { Txn.Get(claim.Key), Txn.Get(claim.Ahead.First(limit: 1)) },
            });
            Require.That(entered.Succeeded, $"enter {name}");
            var removal = new TxnRequest { Compare = { Txn.CreateRevisionIs(claim.Key, entered.Header.Revision) }, Success = { Txn.Delete(claim.Key) } };
            return new Release(async () => Require.That((await bare.KV.TxnAsync(removal)).Succeeded, $"remove {name}"));
        };
    });

    private static ByteString Key(string name) => ByteString.CopyFromUtf8($"bare/{name}");

    private Release Deleting(ByteString key) => new(async () => Require.That((await bare.KV.DeleteRangeAsync(new DeleteRangeRequest { Key = key })).Deleted == 1, $"delete {key.ToStringUtf8()}"));

    private async Task<long> GrantAsync() => (await bare.Leases.LeaseGrantAsync(new LeaseGrantRequest { TTL = TtlSeconds })).ID;

    private async Task<ByteString> PutAsync(string name, long lease)
    {
        var key = Key(name);
        await bare.KV.PutAsync(new PutRequest { Key = key, Value = Value, Lease = lease });
        return key;
    }

    private sealed class Release(Func<Task> write) : IAsyncDisposable
    {
        public async ValueTask DisposeAsync() => await write();
    }
}
