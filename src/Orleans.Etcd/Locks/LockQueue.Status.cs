using Etcdserverpb;
using Microsoft.Extensions.Logging;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>What people ask about a lock, and what they do when they lose their patience with it.</summary>
internal sealed partial class LockQueue
{
    /// <summary>How many places its own view shows, whether that is up to date as far as is known, and how many calls wait here.</summary>
    public (int Shown, bool IsLive, int Calls) Known
    {
        get
        {
            lock (_lock)
                return (_snapshot?.Values.Count ?? 0, IsLive, _waiters.Values.Sum(static waiter => waiter.Calls));
        }
    }

    public async Task<LockStatus> GetStatusAsync()
    {
        var read = await _etcd.RangeAsync(_layout.All.First(limit: 0), CancellationToken.None).ConfigureAwait(false);
        var holders = new List<Task<LockHolder>>();
        var (all, writers) = (0, 0);
        foreach (var kv in read.Kvs)
        {
            var value = LockValue.Decode(kv.Value);
            if ((_layout.IsRead(kv.Key) ? writers : all) < Math.Max(1, value?.Permits ?? 1) && value?.Waiting != true)
                holders.Add(HolderAsync(kv, value));
            all++;
            writers += _layout.IsWrite(kv.Key) ? 1 : 0;
        }

        return new LockStatus([.. await Task.WhenAll(holders).ConfigureAwait(false)], read.Kvs.Count - holders.Count);
    }

    public async Task<bool> ForceReleaseAsync(long token)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(token, 0);
        var read = await _etcd.RangeAsync(_layout.All, CancellationToken.None).ConfigureAwait(false);
        if (read.Kvs.FirstOrDefault(kv => kv.CreateRevision == token) is not { } held)
            return false;
        var removal = new TxnRequest { Compare = { Txn.CreateRevisionIs(held.Key, token) }, Success = { Txn.Delete(held.Key) } };
        // Only who is of our kind looks there.
        var telling = held.Lease != 0 && LockValue.Decode(held.Value) is not null ? removal.Clone() : removal;
        if (telling != removal)
        {
            var forced = new SessionLayout(_etcd.Options.KeyPrefix, _serviceId, held.Lease).ForcedKey(token, LockLayout.EntryOf(held.Key.ToStringUtf8()));
            telling.Success.Add(Txn.Put(forced, held.Key, held.Lease));
            telling.Failure.Add(Txn.Get(forced));
        }

        TxnResponse response;
        var mayBeRemoved = false;
        try
        {
            response = await _etcd.TxnRepeatablyAsync(telling, CancellationToken.None, NoteUnanswered).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (exception.Code is EtcdErrorCode.LeaseNotFound or EtcdErrorCode.ResourceExhausted)
        {
            // Its session is going, and its key with it; or etcd has no room for anything new.
            telling = removal;
            response = await _etcd.TxnRepeatablyAsync(removal, CancellationToken.None, NoteUnanswered).ConfigureAwait(false);
        }

        // Or by another attempt whose answer was lost or is not there yet: that left a word where it could, and else it is taken
        // for having done it, since the key is gone.
        var removed = response.Succeeded || (telling == removal ? mayBeRemoved : response.Responses.Any(one => one.ResponseRange?.Kvs.Count > 0));
        if (removed)
            Log.Forced(_logger, _layout.Name, held.Key.ToStringUtf8(), token);
        return removed;

        void NoteUnanswered() => mayBeRemoved = true;
    }

    private async Task<LockHolder> HolderAsync(KeyValue kv, LockValue? value)
    {
        TimeSpan? remaining = null;
        if (kv.Lease != 0)
        {
            var lease = await _etcd.TimeToLiveAsync(kv.Lease, keys: false, CancellationToken.None).ConfigureAwait(false);
            remaining = TimeSpan.FromSeconds(Math.Max(0, lease.TTL));
        }

        return new LockHolder(value?.Owner, value?.Since, kv.CreateRevision, remaining, kv.Lease);
    }

    private static partial class Log
    {
        [LoggerMessage(100, LogLevel.Warning, "Lock {Name}: {Key} with token {Token} was released by force")]
        public static partial void Forced(ILogger logger, string name, string key, long token);

        [LoggerMessage(101, LogLevel.Warning, "Lock {Name}: {Key} waited and nobody has asked for it for {Unasked}; it was removed")]
        public static partial void Forgotten(ILogger logger, string name, string key, TimeSpan unasked);

        [LoggerMessage(111, LogLevel.Information, "Lock {Name}: {Key} was made for a request that had been cancelled before; it was removed")]
        public static partial void LateCopy(ILogger logger, string name, string key);
    }
}
