using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>How a request gets its place in the queue: one transaction, which also tells whether its turn has come.</summary>
internal sealed partial class LockQueue
{
    /// <summary>The request's place, found or made. Repeating it finds the one made before.</summary>
    private async Task<Entry> EnterAsync(LockClaim claim, LockRequest request)
    {
        var txn = new TxnRequest
        {
            Compare = { Txn.CreateRevisionIs(claim.Key, 0) },
            Success = { Txn.Put(claim.Key, Value(request, waiting: false), claim.Session), Txn.Get(claim.Ahead.First(claim.Allowed)) },
            Failure = { Txn.Get(claim.Key), Txn.Get(claim.Ahead.First(claim.Allowed)) },
        };
        try
        {
            var response = await _etcd.TxnRepeatablyAsync(txn, CancellationToken.None).ConfigureAwait(false);
            var own = response.Succeeded ? null : response.Responses[0].ResponseRange.Kvs[0];
            return Judge(claim, own?.CreateRevision ?? response.Header.Revision, own, response.Responses[1].ResponseRange.Kvs);
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
        {
            return new Entry(0, null, new LockAnswer(LockOutcome.SessionLost, 0));
        }
    }

    /// <summary>
    /// As <see cref="EnterAsync"/>, but makes no place where the turn has not come: one that may not wait must not stand in
    /// others' way, not even for a moment.
    /// </summary>
    private async Task<Entry> TryEnterAsync(LockClaim claim, LockRequest request)
    {
        // With one permit free means that nobody is before it, which a transaction can ask itself.
        var seen = 0L;
        while (true)
        {
            var txn = new TxnRequest
            {
                Compare = { Txn.CreateRevisionIs(claim.Key, 0), Txn.NoneCreatedAfter(claim.Ahead, seen) },
                Success = { Txn.Put(claim.Key, Value(request, waiting: false), claim.Session) },
                Failure = { Txn.Get(claim.Key), Txn.Get(claim.Ahead.First(claim.Allowed)) },
            };
            TxnResponse response;
            try
            {
                response = await _etcd.TxnRepeatablyAsync(txn, CancellationToken.None).ConfigureAwait(false);
            }
            catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
            {
                return new Entry(0, null, new LockAnswer(LockOutcome.SessionLost, 0));
            }

            if (response.Succeeded)
                return new Entry(response.Header.Revision, null, Granted(response.Header.Revision));
            var (own, ahead) = (response.Responses[0].ResponseRange.Kvs, response.Responses[1].ResponseRange.Kvs);
            if (own.Count > 0)
            {
                // Of an earlier copy of this call, or of one that was allowed to wait.
                var entry = Judge(claim, own[0].CreateRevision, own[0], ahead);
                if (entry.Answer is null)
                    await DeleteAsync(claim.Key).ConfigureAwait(false);
                return entry with { Answer = entry.Answer ?? new LockAnswer(LockOutcome.NotFree, 0) };
            }

            if (ahead.Count >= claim.Allowed)
                return new Entry(0, null, new LockAnswer(LockOutcome.NotFree, 0));
            // Free as of this revision; it is if nobody comes in between.
            seen = response.Header.Revision;
        }
    }

    private static Entry Judge(LockClaim claim, long createRevision, KeyValue? own, IEnumerable<KeyValue> ahead)
    {
        var granted = ahead.Count(kv => kv.CreateRevision < createRevision) < claim.Allowed;
        // Before it is granted the mark must go: whoever marked it may remove it.
        var marked = own is not null && LockValue.Decode(own.Value) is { Waiting: true } ? own.ModRevision : (long?)null;
        return new Entry(createRevision, marked, granted && marked is null ? Granted(createRevision) : null);
    }

    private ByteString Value(LockRequest request, bool waiting) => new LockValue
    {
        Owner = request.Owner,
        Since = _etcd.Time.GetUtcNow(),
        Waiting = waiting,
        Permits = request.Permits > 1 ? request.Permits : 0,
    }.Encode();

    /// <param name="CreateRevision">The place in the queue.</param>
    /// <param name="Marked">The revision at which it was marked as waiting; null if it is not.</param>
    /// <param name="Answer">What there is to say at once; null if it has to wait.</param>
    private sealed record Entry(long CreateRevision, long? Marked, LockAnswer? Answer);
}
