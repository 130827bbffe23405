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
        while (true)
        {
            var txn = new TxnRequest
            {
                Compare = { claim.IsToBeMade },
                Success = { Txn.Put(claim.Key, Value(request, waiting: false), claim.Session), Txn.Get(claim.Ahead.First(claim.Allowed)) },
                Failure = { Txn.Get(claim.Key), Txn.Get(claim.Ahead.First(claim.Allowed)) },
            };
            if (await TryRunAsync(txn).ConfigureAwait(false) is not { } response)
                return SessionLost;
            var ahead = response.Responses[1].ResponseRange.Kvs;
            if (response.Succeeded)
            {
                var revision = response.Header.Revision;
                return new Entry(revision, IsGranted(claim, revision, ahead) ? Granted(revision) : null, IsNew: true);
            }

            if (response.Responses[0].ResponseRange.Kvs is not [var own])
                return SessionLost;
            if (LockValue.AttemptOf(own) > request.Attempt)
                return EndedBefore;
            if (!await RemoveEarlierAsync(claim, own, request).ConfigureAwait(false))
                return await FoundAsync(claim, own, ahead, request).ConfigureAwait(false);
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
                Compare = { claim.IsToBeMade, Txn.NoneCreatedAfter(claim.Ahead, seen) },
                Success = { Txn.Put(claim.Key, Value(request, waiting: false), claim.Session) },
                Failure = { Txn.Get(claim.Key), Txn.Get(claim.Ahead.First(claim.Allowed)), Txn.Get(claim.State ?? claim.Key) },
            };
            if (await TryRunAsync(txn).ConfigureAwait(false) is not { } response)
                return SessionLost;
            if (response.Succeeded)
                return new Entry(response.Header.Revision, Granted(response.Header.Revision));
            var (own, ahead) = (response.Responses[0].ResponseRange.Kvs, response.Responses[1].ResponseRange.Kvs);
            if (own.Count > 0)
            {
                if (LockValue.AttemptOf(own[0]) > request.Attempt)
                    return EndedBefore;
                if (await RemoveEarlierAsync(claim, own[0], request).ConfigureAwait(false))
                    continue;
                // Of an earlier copy of this call, or of one that was allowed to wait.
                var found = await FoundAsync(claim, own[0], ahead, request).ConfigureAwait(false);
                return found with { Answer = found.Answer ?? await LeaveAsync(claim, found.CreateRevision, request).ConfigureAwait(false) };
            }

            if (claim.HasEnded(response.Responses[2].ResponseRange.Kvs))
                return SessionLost;
            if (ahead.Count >= claim.Allowed)
            {
                FollowIfMarked(ahead);
                return new Entry(0, new LockAnswer(LockOutcome.NotFree, 0));
            }

            // Free as of this revision; it is if nobody comes in between.
            seen = response.Header.Revision;
        }
    }

    /// <summary>
    /// Removes a place that a late copy of an earlier wish has made under the same id, which nobody waits for: its token would be lower than
    /// those of others who were given theirs before this wish was asked, where several may hold it at once.
    /// </summary>
    private async Task<bool> RemoveEarlierAsync(LockClaim claim, KeyValue own, LockRequest request)
    {
        if (!(LockValue.AttemptOf(own) < request.Attempt))
            return false;
        await DeleteAsync(claim.Key, own.CreateRevision).ConfigureAwait(false);
        return true;
    }

    /// <summary>Where one stands in the way that may be forgotten, somebody is to see to it, though nobody waits here.</summary>
    private void FollowIfMarked(IEnumerable<KeyValue> ahead)
    {
        if (!ahead.Any(IsMarked))
            return;
        lock (_lock)
        {
            _lastWait = _etcd.Time.GetTimestamp();
            Follow();
        }
    }

    // The mark is never what a key is created with.
    private static bool IsMarked(KeyValue key) => key.Version > 1 && LockValue.Decode(key.Value) is { Waiting: true };

    private async Task<Entry> FoundAsync(LockClaim claim, KeyValue own, IEnumerable<KeyValue> ahead, LockRequest request) =>
        new(own.CreateRevision, IsGranted(claim, own.CreateRevision, ahead) ? await GrantAsync(claim, own, request).ConfigureAwait(false) : null);

    private static bool IsGranted(LockClaim claim, long createRevision, IEnumerable<KeyValue> ahead) =>
        ahead.Count(kv => kv.CreateRevision < createRevision) < claim.Allowed;

    /// <summary>
    /// The answer for a key whose turn has come. If it is marked as waiting the mark goes first, since whoever marked it may
    /// remove it; after its turn has come nobody can mark it any more.
    /// </summary>
    private async Task<LockAnswer> GrantAsync(LockClaim claim, KeyValue own, LockRequest request)
    {
        if (!IsMarked(own))
            return Granted(own.CreateRevision);
        var txn = new TxnRequest
        {
            Compare = { Txn.ModRevisionIs(claim.Key, own.ModRevision) },
            Success = { Txn.Put(claim.Key, Value(request, waiting: false), claim.Session) },
            Failure = { Txn.Get(claim.Key) },
        };
        if (await TryRunAsync(txn).ConfigureAwait(false) is not { } response)
            return Ended;
        // Or another attempt has done it, whose answer was lost or is not there yet, or another call of the same request.
        return response.Succeeded || response.Responses[0].ResponseRange.Kvs.Any(kv => kv.CreateRevision == own.CreateRevision && LockValue.Decode(kv.Value) is { Waiting: false })
            ? Granted(own.CreateRevision)
            : Ended;
    }

    /// <summary>Runs a transaction that may put something on the session's lease; null where that is gone.</summary>
    private async Task<TxnResponse?> TryRunAsync(TxnRequest txn)
    {
        try
        {
            return await TxnAsync(txn).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
        {
            return null;
        }
    }

    private ByteString Value(LockRequest request, bool waiting) => new LockValue
    {
        Owner = request.Owner,
        Since = _etcd.Time.GetUtcNow(),
        Waiting = waiting,
        Permits = request.Permits > 1 ? request.Permits : 0,
        Attempt = request.Attempt,
    }.Encode();

    private static LockAnswer Granted(long token) => new(LockOutcome.Granted, token);

    /// <summary>A later wish has the name: the request is a copy of one that is over, and what is there is none of its own.</summary>
    private static Entry EndedBefore => new(0, Ended);

    private static Entry SessionLost => new(0, new LockAnswer(LockOutcome.SessionLost, 0));

    /// <param name="CreateRevision">The place in the queue.</param>
    /// <param name="Answer">What there is to say at once; null if it has to wait.</param>
    /// <param name="IsNew">Whether this call has made the place.</param>
    private sealed record Entry(long CreateRevision, LockAnswer? Answer, bool IsNew = false);
}
