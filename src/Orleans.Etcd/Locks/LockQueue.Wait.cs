using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>How a request waits for its turn, and how it stops doing so without a trace.</summary>
internal sealed partial class LockQueue
{
    // etcd takes 128 comparisons in a transaction.
    private const int ComparisonsEach = 100;

    private async Task<LockAnswer> WaitAsync(LockClaim claim, Entry entry, LockRequest request, long started)
    {
        var waiter = StartWaiting(claim, entry.CreateRevision);
        WaitEnd? end = null;
        try
        {
            var limit = Min(request.MaxWait, Min(request.MaxCall, CallLimit)) - _etcd.Time.GetElapsedTime(started);
            await Task.WhenAny(waiter.Ended, Task.Delay(limit > TimeSpan.Zero ? limit : TimeSpan.Zero, _etcd.Time, _stop.Token)).ConfigureAwait(false);
            if (waiter.Ended.IsCompleted)
                end = await waiter.Ended.ConfigureAwait(false);
        }
        finally
        {
            StopWaiting(waiter);
        }

        if (end == WaitEnd.Gone)
            return Ended;
        if (end == WaitEnd.Granted)
            return entry.Marked is not { } mark || await UnmarkAsync(claim, mark, request).ConfigureAwait(false) ? Granted(entry.CreateRevision) : Ended;
        return _etcd.Time.GetElapsedTime(started) < request.MaxWait
            ? await StayAsync(claim, entry, request).ConfigureAwait(false)
            : await LeaveAsync(claim, entry).ConfigureAwait(false);
    }

    /// <summary>The call ends, and the request keeps its place, marked as one that is to be asked for again.</summary>
    private async Task<LockAnswer> StayAsync(LockClaim claim, Entry entry, LockRequest request)
    {
        var marked = entry.Marked is not null
            || await IfStillWaitingAsync(claim, entry.CreateRevision, Txn.Put(claim.Key, Value(request, waiting: true), claim.Session)).ConfigureAwait(false);
        return marked ? new LockAnswer(LockOutcome.Queued, 0) : Granted(entry.CreateRevision);
    }

    /// <summary>Its time is over: it goes, unless its turn came at the last moment.</summary>
    private async Task<LockAnswer> LeaveAsync(LockClaim claim, Entry entry)
    {
        if (entry.Marked is { } mark)
        {
            // Granted to nobody, since the mark is there: no more to compare.
            await _etcd.TxnRepeatablyAsync(new TxnRequest { Compare = { Txn.ModRevisionIs(claim.Key, mark) }, Success = { Txn.Delete(claim.Key) } }, CancellationToken.None).ConfigureAwait(false);
            return new LockAnswer(LockOutcome.NotFree, 0);
        }

        return await IfStillWaitingAsync(claim, entry.CreateRevision, Txn.Delete(claim.Key)).ConfigureAwait(false)
            ? new LockAnswer(LockOutcome.NotFree, 0)
            : Granted(entry.CreateRevision);
    }

    /// <summary>
    /// Changes the key of a request if its turn has not come at that very revision; answers false if it has. Another
    /// activation, asked for the same request, might have said so to its owner long before this one's watch shows it.
    /// </summary>
    private async Task<bool> IfStillWaitingAsync(LockClaim claim, long createRevision, RequestOp change)
    {
        while (true)
        {
            var read = await _etcd.RangeAsync(claim.Ahead.First(claim.Allowed), CancellationToken.None).ConfigureAwait(false);
            var before = read.Kvs.Where(kv => kv.CreateRevision < createRevision).ToArray();
            if (before.Length < claim.Allowed)
                return !await IsThereAsync(claim.Key, createRevision).ConfigureAwait(false);
            Compare[] comparisons = [Txn.CreateRevisionIs(claim.Key, createRevision), .. before.Select(kv => Txn.CreateRevisionIs(kv.Key, kv.CreateRevision))];
            try
            {
                if (HasChanged(await _etcd.TxnRepeatablyAsync(Guarded(comparisons, change), CancellationToken.None).ConfigureAwait(false)))
                    return true;
            }
            catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
            {
                return true;
            }

            // Of those before it one went, or it went itself.
            if (!await IsThereAsync(claim.Key, createRevision).ConfigureAwait(false))
                return true;
        }
    }

    private async Task<bool> IsThereAsync(ByteString key, long createRevision)
    {
        var read = await _etcd.RangeAsync(new RangeRequest { Key = key }, CancellationToken.None).ConfigureAwait(false);
        return read.Kvs.Any(kv => kv.CreateRevision == createRevision);
    }

    /// <summary>A transaction in a transaction for each hundred comparisons; etcd makes all of them before it changes anything.</summary>
    private static TxnRequest Guarded(ReadOnlySpan<Compare> comparisons, RequestOp change)
    {
        var txn = new TxnRequest();
        txn.Compare.AddRange(comparisons[..Math.Min(comparisons.Length, ComparisonsEach)].ToArray());
        txn.Success.Add(comparisons.Length > ComparisonsEach ? Txn.Nested(Guarded(comparisons[ComparisonsEach..], change)) : change);
        return txn;
    }

    private static bool HasChanged(TxnResponse response) =>
        response.Succeeded && (response.Responses[0].ResponseCase != ResponseOp.ResponseOneofCase.ResponseTxn || HasChanged(response.Responses[0].ResponseTxn));

    /// <summary>Takes the mark away; false where the key was removed or changed meanwhile.</summary>
    private async Task<bool> UnmarkAsync(LockClaim claim, long mark, LockRequest request)
    {
        var value = Value(request, waiting: false);
        var txn = new TxnRequest
        {
            Compare = { Txn.ModRevisionIs(claim.Key, mark) },
            Success = { Txn.Put(claim.Key, value, claim.Session) },
            Failure = { Txn.Get(claim.Key) },
        };
        try
        {
            var response = await _etcd.TxnRepeatablyAsync(txn, CancellationToken.None).ConfigureAwait(false);
            // Or a first attempt whose answer was lost has done it, or another call of the same request.
            return response.Succeeded || response.Responses[0].ResponseRange.Kvs.Any(kv => LockValue.Decode(kv.Value) is { Waiting: false });
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
        {
            return false;
        }
    }

    private LockWaiter StartWaiting(LockClaim claim, long createRevision)
    {
        lock (_lock)
        {
            if (!_waiters.TryGetValue(claim.Key, out var waiter) || waiter.CreateRevision != createRevision)
                _waiters[claim.Key] = waiter = new LockWaiter(claim, createRevision, _snapshot?.Epoch);
            waiter.Calls++;
            Follow();
            if (_snapshot is not null)
                waiter.Look(_snapshot, Order());
            return waiter;
        }
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

    private static LockAnswer Granted(long token) => new(LockOutcome.Granted, token);

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;
}
