using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// The one watch that all who wait here share. It stands while somebody waits and a while longer: one opened at a past
/// revision is served by etcd only every 100 ms.
/// </summary>
internal sealed partial class LockQueue
{
    // No release reads more places than this; who comes after them is told by the watch.
    private const int MostRead = 16;

    private static readonly TimeSpan KeptFor = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(5);

    private readonly Dictionary<ByteString, (long Mark, long Since)> _unasked = [];
    private readonly HashSet<long> _beingRemoved = [];
    private RangeWatch? _watch;
    private Task _following = Task.CompletedTask;
    private RangeSnapshot? _snapshot;
    private long _lastWait;

    private bool IsLive => _watch is { LastError: null };

    /// <summary>Under the lock.</summary>
    private void Follow()
    {
        if (_watch is not null || _stop.IsCancellationRequested)
            return;
        var watch = _watch = new RangeWatch(_etcd, _layout.Prefix);
        _following = Detached.Run(() => FollowAsync(watch));
    }

    private Task StopFollowingAsync()
    {
        lock (_lock)
            return _following;
    }

    private async Task FollowAsync(RangeWatch watch)
    {
        try
        {
            Task<bool>? next = null;
            Task? tick = null;
            while (!_stop.IsCancellationRequested)
            {
                next ??= watch.Batches.WaitToReadAsync(_stop.Token).AsTask();
                tick ??= Task.Delay(Tick, _etcd.Time, _stop.Token);
                await Task.WhenAny(next, tick).ConfigureAwait(false);
                if (next.IsCompleted)
                {
                    if (!await next.ConfigureAwait(false))
                        break;
                    next = null;
                    TakeOver(watch);
                }

                if (!tick.IsCompleted)
                    continue;
                tick = null;
                RemoveLateCopies();
                await RemoveUnaskedAsync().ConfigureAwait(false);
                if (IsIdle())
                    break;
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
        {
            // The queue or its connection is closed.
        }
        finally
        {
            lock (_lock)
            {
                (_watch, _snapshot) = (null, null);
                _deleted.Clear();
                _released.Clear();
                // Somebody may have come since it was found to be idle.
                if (_waiters.Count > 0 && !_etcd.IsDisposed)
                    Follow();
            }

            await watch.DisposeAsync().ConfigureAwait(false);
        }
    }

    private void TakeOver(RangeWatch watch)
    {
        // What lies in between is of no interest to anybody.
        RevisionBatch? newest = null;
        while (watch.Batches.TryRead(out var batch))
            newest = batch;
        if (newest is null)
            return;
        List<(LockWaiter Waiter, KeyValue? Own)> ended = [];
        lock (_lock)
        {
            // Revisions of one history say nothing of another's.
            if (_snapshot is { } before && before.Epoch != newest.Snapshot.Epoch)
            {
                _deleted.Clear();
                _released.Clear();
            }

            _snapshot = newest.Snapshot;
            RemoveLateCopies();
            foreach (var (key, _) in _deleted.Where(deleted => deleted.Value <= _snapshot.Revision).ToArray())
                _deleted.Remove(key);
            foreach (var (key, token) in _released.ToArray())
            {
                if (_snapshot.Revision >= token && _snapshot.Values.GetValueOrDefault(key)?.CreateRevision != token)
                    _released.Remove(key);
            }

            NoteMarks(_snapshot);
            if (_waiters.Count == 0)
                return;
            var order = new LockOrder(_layout, _snapshot, static _ => false);
            foreach (var waiter in _waiters.Values)
            {
                if (waiter.Ends(_snapshot, order, out var own))
                    ended.Add((waiter, own));
            }
        }

        foreach (var (waiter, own) in ended)
            waiter.End(own);
    }

    /// <summary>
    /// Removes what a request has left that was cancelled: a member that was between two leaders, or slow, may make its place
    /// after that has been deleted, and the session would only find it when it looks. Nobody uses the name again.
    /// </summary>
    private void RemoveLateCopies()
    {
        lock (_lock)
        {
            if (_snapshot is null || _ended.Count == 0)
                return;
            foreach (var (key, there) in _snapshot.Values)
            {
                if (_ended.TryGetValue(key, out var ended) && ended is { IsCancelled: true, DeletedAt: > 0 } && there.CreateRevision > ended.DeletedAt && _beingRemoved.Add(there.CreateRevision))
                    _ = Detached.Run(() => RemoveLateCopyAsync(key, there.CreateRevision));
            }
        }
    }

    private async Task RemoveLateCopyAsync(ByteString key, long createRevision)
    {
        try
        {
            await DeleteAsync(key, createRevision).ConfigureAwait(false);
            Log.LateCopy(_logger, _layout.Name, key.ToStringUtf8());
        }
        catch (Exception exception) when (exception is EtcdException or ObjectDisposedException)
        {
            // It is tried again while it stands there.
        }
        finally
        {
            lock (_lock)
                _beingRemoved.Remove(createRevision);
        }
    }

    /// <summary>
    /// Who waits here and has their turn now that this is released, and all that was released here before. Of those before them none
    /// need be gone in etcd yet: see <see cref="LockWaiter.TryHandOver"/>. Under the lock.
    /// </summary>
    private LockWaiter[] HandOver()
    {
        if (_snapshot is not { } snapshot || !IsLive)
            return [];
        return [.. InTurn(snapshot, key => _released.TryGetValue(key, out var token) && snapshot.Values[key].CreateRevision == token).Where(waiter => waiter.TryHandOver(snapshot))];
    }

    /// <summary>
    /// Who else waits here and has their turn once this key is gone. Their keys are to be read at that revision: the view is older, and
    /// they may have changed since. Under the lock.
    /// </summary>
    private LockWaiter[] NextAfter(ByteString released) =>
        _snapshot is { } snapshot ? [.. InTurn(snapshot, key => key.Equals(released)).Take(MostRead)] : [];

    /// <summary>
    /// Who waits here and has their turn, where some do not count, as those do not that were deleted from here and that the view still shows.
    /// That nobody else is before them is sure, since all that were created before a key which the view shows are in the view, or gone.
    /// </summary>
    private IEnumerable<LockWaiter> InTurn(RangeSnapshot snapshot, Func<ByteString, bool> doesNotCount)
    {
        if (_waiters.Count == 0)
            return [];
        var order = new LockOrder(_layout, snapshot, key => doesNotCount(key) || (_deleted.TryGetValue(key, out var deleted) && deleted > snapshot.Revision));
        return _waiters.Values.Where(waiter => waiter is { HandedOver: null, Ended.IsCompleted: false } && waiter.OwnIn(snapshot) is not null && order.IsGranted(waiter.Claim, waiter.CreateRevision));
    }

    /// <summary>Notes that its holder holds it no more, for as long as the view may show it. Under the lock.</summary>
    private void NoteReleased(ByteString key, long token)
    {
        if (_snapshot is { } snapshot && (snapshot.Revision < token || snapshot.Values.GetValueOrDefault(key)?.CreateRevision == token))
            _released[key] = token;
    }

    private void NoteNotReleased(ByteString key, long token)
    {
        lock (_lock)
        {
            if (_released.GetValueOrDefault(key) == token)
                _released.Remove(key);
        }
    }

    private bool IsIdle()
    {
        lock (_lock)
            return _waiters.Count == 0 && _unasked.Count == 0 && _etcd.Time.GetElapsedTime(_lastWait) > KeptFor;
    }

    /// <summary>Notes since when each marked wait has not been asked for here. Under the lock.</summary>
    private void NoteMarks(RangeSnapshot snapshot)
    {
        foreach (var (key, noted) in _unasked.ToArray())
        {
            if (!snapshot.Values.TryGetValue(key, out var there) || there.ModRevision != noted.Mark)
                _unasked.Remove(key);
        }

        foreach (var (key, there) in snapshot.Values)
        {
            if (!_unasked.ContainsKey(key) && IsMarked(there))
                _unasked.Add(key, (there.ModRevision, _etcd.Time.GetTimestamp()));
        }
    }

    /// <summary>
    /// Removes waits that nobody has asked for here in a long time, ours only. Guarded by the mark, which is taken away
    /// before such a one is granted anywhere: nothing that anybody holds is removed.
    /// </summary>
    private async Task RemoveUnaskedAsync()
    {
        List<(ByteString Key, long Mark)> forgotten = [];
        lock (_lock)
        {
            var now = _etcd.Time.GetTimestamp();
            foreach (var (key, noted) in _unasked.ToArray())
            {
                if (_waiters.ContainsKey(key))
                    _unasked[key] = (noted.Mark, now);
                else if (_etcd.Time.GetElapsedTime(noted.Since, now) > Unasked)
                    forgotten.Add((key, noted.Mark));
            }
        }

        foreach (var (key, mark) in forgotten)
        {
            lock (_lock)
            {
                if (_waiters.ContainsKey(key))
                    continue;
            }

            try
            {
                var response = await _etcd.TxnRepeatablyAsync(new TxnRequest { Compare = { Txn.ModRevisionIs(key, mark) }, Success = { Txn.Delete(key) } }, _stop.Token).ConfigureAwait(false);
                if (response.Succeeded)
                    Log.Forgotten(_logger, _layout.Name, key.ToStringUtf8(), Unasked);
                lock (_lock)
                    _unasked.Remove(key);
            }
            catch (EtcdException)
            {
                // While etcd is away nobody can ask.
                NoteAskedAll();
                return;
            }
        }
    }

    private void NoteAskedAll()
    {
        lock (_lock)
        {
            foreach (var (key, noted) in _unasked.ToArray())
                _unasked[key] = (noted.Mark, _etcd.Time.GetTimestamp());
        }
    }
}
