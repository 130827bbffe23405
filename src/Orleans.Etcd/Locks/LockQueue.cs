using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// Brokers one lock for as long as its grain is active: enters requests into the queue that etcd keeps, and waits for
/// their turn. Thread safe.
/// </summary>
/// <remarks>
/// <para>Invariant: it answers Granted only for a key that was seen in etcd at a revision at which the rule of
/// <see cref="LockLayout"/> held for it, but for keys whose holders have said here that they hold them no more. Two queues for
/// one lock, on two silos, so grant nothing twice: etcd has put all in order, and who is before is there or has given it up.</para>
/// <para>A hand-over (<see cref="LockWaiter.TryHandOver"/>) need not wait until etcd has written that. Until then another queue may
/// take its place for one that still waits, and remove or mark it for another call of the same wish: so only the first call of a wish is
/// told, and no copy of it removes or marks what it has not made. What somebody else removes, etcd itself, an operator or a forced release, is found gone by its session, as
/// it is where that happens a moment after a grant.</para>
/// <para>Nothing here is needed again after a crash. What a queue remembers only saves requests, and the time that a wish
/// which nobody has any more stays in line.</para>
/// </remarks>
internal sealed partial class LockQueue : IAsyncDisposable
{
    /// <summary>No call waits longer, so that Orleans' own timeout never ends one.</summary>
    public static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(10);

    // Longer than a caller goes without an answer from a silo that died, and asks again.
    private static readonly TimeSpan Unasked = TimeSpan.FromSeconds(60);

    // Longer than a message of Orleans' can be under way (30 s by default).
    private static readonly TimeSpan EndedFor = TimeSpan.FromMinutes(1);

    private static readonly LockAnswer Ended = new(LockOutcome.Ended, 0);

    private readonly EtcdConnection _etcd;
    private readonly GroupCommit _commits;
    private readonly LockLayout _layout;
    private readonly string _serviceId;
    private readonly ILogger _logger;
    private readonly object _lock = new();
    private readonly Dictionary<ByteString, LockWaiter> _waiters = [];
    private readonly Dictionary<ByteString, long> _deleted = [];
    private readonly Dictionary<ByteString, long> _released = [];
    private readonly Dictionary<ByteString, (long At, long Attempt, bool IsCancelled, long DeletedAt)> _ended = [];
    private readonly Queue<(ByteString Key, long At)> _endedInOrder = new();
    private readonly CancellationTokenSource _stop = new();
    private readonly CancellationTokenSource _waitless = new();
    private long _lastUsed;

    public LockQueue(EtcdConnection etcd, GroupCommit commits, LockLayout layout, string serviceId, ILogger logger)
    {
        _etcd = etcd;
        _commits = commits;
        _layout = layout;
        _serviceId = serviceId;
        _logger = logger;
        NoteUse();
    }

    /// <summary>When it was last asked anything, by the connection's clock.</summary>
    public long LastUsed => Volatile.Read(ref _lastUsed);

    public void NoteUse() => Volatile.Write(ref _lastUsed, _etcd.Time.GetTimestamp());

    /// <summary>
    /// Enters the request, or finds the place that it has, and waits for its turn. One call makes one place at most: what
    /// was deleted under it is for its caller to ask for anew, who alone knows whether it is wanted.
    /// </summary>
    public async Task<LockAnswer> AcquireAsync(LockRequest request)
    {
        var claim = _layout.Claim(request);
        var started = _etcd.Time.GetTimestamp();
        if (HasEnded(claim.Key, request.Attempt))
            return Ended;
        var entry = request.MaxWait == TimeSpan.Zero ? await TryEnterAsync(claim, request).ConfigureAwait(false) : await EnterAsync(claim, request).ConfigureAwait(false);
        if (HasEnded(claim.Key, request.Attempt))
        {
            // Cancelled meanwhile, perhaps before it was there to be deleted; then nobody uses the name again. After a release
            // it may be the next request's: what this one has made, if it has, its session finds and removes.
            if (WasCancelled(claim.Key))
                await DeleteAsync(claim.Key, entry.CreateRevision).ConfigureAwait(false);
            return Ended;
        }

        var answer = entry.Answer ?? await WaitAsync(claim, entry, request, started).ConfigureAwait(false);
        // A copy of it that comes late, or a first attempt to enter it, is not to be granted to nobody.
        if (answer.Outcome == LockOutcome.NotFree)
            NoteEnded(claim.Key, request.Attempt);
        return answer;
    }

    public async Task<bool> ReleaseAsync(LockRequest request, long token)
    {
        var claim = _layout.Claim(request);
        // First, so that a copy of the request that is on its way finds it.
        NoteEnded(claim.Key, request.Attempt);
        LockWaiter[] handedOver, next;
        (RangeWatch? Watch, int? Epoch) seen;
        lock (_lock)
        {
            NoteReleased(claim.Key, token);
            handedOver = HandOver();
            next = NextAfter(claim.Key);
            seen = (_watch, _snapshot?.Epoch);
        }

        var txn = new TxnRequest { Compare = { Txn.CreateRevisionIs(claim.Key, token) }, Success = { Txn.Delete(claim.Key) }, Failure = { Txn.Get(claim.Key) } };
        txn.Success.AddRange(next.Select(waiter => Txn.Get(waiter.Claim.Key)));
        var mayBeReleased = false;
        var releasing = TxnAsync(txn, () => mayBeReleased = true);
        // Whose own release may come before this one's answer, and hand it on.
        foreach (var waiter in handedOver)
            waiter.End(waiter.HandedOver);
        var response = await releasing.ConfigureAwait(false);
        if (!response.Succeeded)
        {
            if (response.Responses[0].ResponseRange.Kvs is not [var there])
                // By an attempt that was not answered, as far as can be told.
                return mayBeReleased;
            // By a token that is not its own, it is still wanted; but for one of which a later wish has the name by now.
            if (!(LockValue.AttemptOf(there) > request.Attempt))
                NoteWanted(claim.Key, request.Attempt);
            NoteNotReleased(claim.Key, token);
            return false;
        }

        var here = response.Responses.Skip(1).SelectMany(one => one.ResponseRange.Kvs).ToDictionary(kv => kv.Key);
        lock (_lock)
        {
            // A watch that is opened later does not know of it any more, and revisions of one history say nothing of another's.
            if (_watch is not null && seen == (_watch, _snapshot?.Epoch))
                _deleted[claim.Key] = response.Header.Revision;
        }

        foreach (var waiter in next)
        {
            if (here.GetValueOrDefault(waiter.Claim.Key) is { } own && own.CreateRevision == waiter.CreateRevision)
                waiter.End(own);
        }

        return true;
    }

    public async Task CancelAsync(LockRequest request)
    {
        var claim = _layout.Claim(request);
        NoteEnded(claim.Key, request.Attempt, isCancelled: true);
        var deleted = await _etcd.DeleteRepeatablyAsync(claim.Key, CancellationToken.None).ConfigureAwait(false);
        LockWaiter? waiter;
        lock (_lock)
        {
            if (_ended.TryGetValue(claim.Key, out var ended))
                _ended[claim.Key] = ended with { DeletedAt = deleted.Header.Revision };
            waiter = _waiters.GetValueOrDefault(claim.Key);
        }

        waiter?.End(null);
    }

    /// <summary>Ends all waits, which keep their places, and lets nobody wait any more: whoever asks again finds another silo.</summary>
    public void EndWaits() => _waitless.Cancel();

    public async ValueTask DisposeAsync()
    {
        EndWaits();
        await _stop.CancelAsync().ConfigureAwait(false);
        await StopFollowingAsync().ConfigureAwait(false);
    }

    private Task<TxnResponse> TxnAsync(TxnRequest txn, Action? unanswered = null) => _commits.TxnRepeatablyAsync(_layout.Prefix, txn, unanswered);

    private Task DeleteAsync(ByteString key, long createRevision) =>
        TxnAsync(new TxnRequest { Compare = { Txn.CreateRevisionIs(key, createRevision) }, Success = { Txn.Delete(key) } });

    private bool HasEnded(ByteString key, long attempt)
    {
        lock (_lock)
            return _ended.TryGetValue(key, out var ended) && attempt <= ended.Attempt;
    }

    private bool WasCancelled(ByteString key)
    {
        lock (_lock)
            return _ended.TryGetValue(key, out var ended) && ended.IsCancelled;
    }

    private void NoteWanted(ByteString key, long attempt)
    {
        lock (_lock)
        {
            if (_ended.TryGetValue(key, out var ended) && ended.Attempt == attempt)
                _ended.Remove(key);
        }
    }

    /// <summary>Remembers that nobody wants it any more, for as long as a copy of the wish may still arrive.</summary>
    private void NoteEnded(ByteString key, long attempt, bool isCancelled = false)
    {
        lock (_lock)
        {
            var now = _etcd.Time.GetTimestamp();
            while (_endedInOrder.TryPeek(out var oldest) && _etcd.Time.GetElapsedTime(oldest.At, now) > EndedFor)
            {
                _endedInOrder.Dequeue();
                // Unless it was noted again since.
                if (_ended.TryGetValue(oldest.Key, out var noted) && noted.At == oldest.At)
                    _ended.Remove(oldest.Key);
            }

            var before = _ended.GetValueOrDefault(key);
            _ended[key] = (now, Math.Max(before.Attempt, attempt), before.IsCancelled || isCancelled, before.DeletedAt);
            _endedInOrder.Enqueue((key, now));
        }
    }
}
