using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>How a request waits for its turn, and how it stops doing so without a trace.</summary>
internal sealed partial class LockQueue
{
    private async Task<LockAnswer> WaitAsync(LockClaim claim, Entry entry, LockRequest request, long started)
    {
        var createRevision = entry.CreateRevision;
        var waiter = StartWaiting(claim, createRevision, mayBeHandedOver: entry.IsNew && request.IsFirstCall);
        var call = Min(request.MaxCall, CallLimit);
        try
        {
            var limit = Min(request.MaxWait, call) - _etcd.Time.GetElapsedTime(started);
            await ((Task)waiter.Ended.WaitAsync(limit > TimeSpan.Zero ? limit : TimeSpan.Zero, _etcd.Time, _waitless.Token)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
        finally
        {
            StopWaiting(waiter);
        }

        // That it is gone is newer; that its time is over is not.
        if (waiter.HandedOver is not null && waiter.Ended is not { IsCompletedSuccessfully: true, Result: null })
            return Granted(createRevision);
        if (waiter.Ended.IsCompleted)
            return await waiter.Ended.ConfigureAwait(false) is { } own ? await GrantAsync(claim, own, request).ConfigureAwait(false) : Ended;
        // Its place was made by another copy of this call, which may have been handed it over: not for this one to touch.
        if (request.IsFirstCall && !entry.IsNew)
            return new LockAnswer(LockOutcome.Queued, 0);
        // Not by the time that has passed alone: a timer may be a moment early.
        var isOver = request.MaxWait <= call && !_waitless.IsCancellationRequested;
        return isOver || _etcd.Time.GetElapsedTime(started) >= request.MaxWait
            ? await LeaveAsync(claim, createRevision, request).ConfigureAwait(false)
            : await StayAsync(claim, createRevision, request).ConfigureAwait(false);
    }

    /// <summary>
    /// The call ends, and the request keeps its place, marked as one that is to be asked for again. Marked anew each time:
    /// that is how another activation knows that it is asked for here.
    /// </summary>
    private async Task<LockAnswer> StayAsync(LockClaim claim, long createRevision, LockRequest request)
    {
        var granted = await IfStillWaitingAsync(claim, createRevision, Txn.Put(claim.Key, Value(request, waiting: true), claim.Session)).ConfigureAwait(false);
        return granted is null ? new LockAnswer(LockOutcome.Queued, 0) : await GrantAsync(claim, granted, request).ConfigureAwait(false);
    }

    /// <summary>Its time is over: it goes, unless its turn came at the last moment.</summary>
    private async Task<LockAnswer> LeaveAsync(LockClaim claim, long createRevision, LockRequest request)
    {
        var granted = await IfStillWaitingAsync(claim, createRevision, Txn.Delete(claim.Key)).ConfigureAwait(false);
        return granted is null ? new LockAnswer(LockOutcome.NotFree, 0) : await GrantAsync(claim, granted, request).ConfigureAwait(false);
    }

    /// <summary>
    /// Changes the key of a request if its turn has not come at that very revision; if it has, answers the key. Another
    /// activation, asked for the same request, might have said so to its owner long before this one's watch shows it.
    /// </summary>
    private async Task<KeyValue?> IfStillWaitingAsync(LockClaim claim, long createRevision, RequestOp change)
    {
        while (true)
        {
            // The nearest and not the first of all: on a busy lock those go while this is under way.
            var read = await _etcd.RangeAsync(claim.Ahead.LastBefore(createRevision, claim.Allowed), CancellationToken.None).ConfigureAwait(false);
            var before = read.Kvs;
            if (before.Count < claim.Allowed)
                return await OwnAsync(claim.Key, createRevision).ConfigureAwait(false);
            var txn = new TxnRequest { Compare = { Txn.CreateRevisionIs(claim.Key, createRevision) }, Success = { change } };
            txn.Compare.AddRange(before.Select(kv => Txn.CreateRevisionIs(kv.Key, kv.CreateRevision)));
            if (await TryRunAsync(txn).ConfigureAwait(false) is not { Succeeded: false })
                return null;
            // One of those before it went, or it went itself.
            if (await OwnAsync(claim.Key, createRevision).ConfigureAwait(false) is null)
                return null;
        }
    }

    private async Task<KeyValue?> OwnAsync(ByteString key, long createRevision)
    {
        var read = await _etcd.RangeAsync(new RangeRequest { Key = key }, CancellationToken.None).ConfigureAwait(false);
        return read.Kvs.FirstOrDefault(kv => kv.CreateRevision == createRevision);
    }

    private LockWaiter StartWaiting(LockClaim claim, long createRevision, bool mayBeHandedOver)
    {
        LockWaiter waiter;
        KeyValue? own = null;
        bool ends;
        lock (_lock)
        {
            var there = _waiters.GetValueOrDefault(claim.Key);
            // What was handed over to one call is not told to another, which may not have been the only one.
            waiter = there is { HandedOver: null } && there.CreateRevision == createRevision ? there : new LockWaiter(claim, createRevision);
            // Of an answer that comes late: a later wish has the name by now, and this place is gone.
            ends = there?.CreateRevision > createRevision;
            if (!ends)
                _waiters[claim.Key] = waiter;
            waiter.MayBeHandedOver = mayBeHandedOver && waiter.Calls == 0;
            waiter.Calls++;
            Follow();
            if (_snapshot is not null && !ends)
                ends = waiter.Ends(_snapshot, new LockOrder(_layout, _snapshot, static _ => false), out own);
        }

        if (ends)
            waiter.End(own);
        return waiter;
    }

    private void StopWaiting(LockWaiter waiter)
    {
        lock (_lock)
        {
            if (--waiter.Calls == 0 && _waiters.GetValueOrDefault(waiter.Claim.Key) == waiter)
                _waiters.Remove(waiter.Claim.Key);
            _lastWait = _etcd.Time.GetTimestamp();
        }
    }

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;
}
