using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// One lease of this process, on which all its locks and waits hang, and what becomes of them when it ends.
/// </summary>
/// <remarks>
/// <para>Invariants. (1) A handle says that it is held only while the lease is, by this process's own clock, and its loss is
/// announced before etcd can end the lease. (2) What etcd has taken away, all at once or one key, is noticed: at once where
/// the session's own keys say it, else when the lease has been looked at twice, every third of its TTL. (3) No key stays on the lease
/// that nobody here wants: what a lost release, a late copy of a request or a write applied after its timeout has left is
/// removed when it has been seen twice. (4) Once it has ended nothing can be placed in a queue on its behalf, even where a late copy of its
/// grant makes a lease of the same id again: places are made on the condition that the session's key is the one that it was made with.</para>
/// <para>What of a request id is still under way when it is used again can at most make a place, which the next request of that id removes. Where
/// more is possible, after a cancellation, a failed call or a removal, the id is not used again.</para>
/// </remarks>
internal sealed partial class LockSession : IAsyncDisposable
{
    private const string LeaseLost = "its lease was not renewed in time, or is gone";

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan CloseTimeout = TimeSpan.FromSeconds(2);

    // For the callbacks of those who hold something.
    private static readonly TimeSpan TellTimeout = TimeSpan.FromSeconds(1);

    private readonly object _lock = new();
    // By the last segment of its key: what is held, and null for what is asked for.
    private readonly Dictionary<string, LockHandle?> _wanted = [];
    private readonly HashSet<string> _forced = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _closed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly ILockSessionLink _link;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Task _loops;
    private readonly long _made;
    private readonly RequestIds _ids = new();
    private long _attempts;
    // By the last segment again: keys that were seen and not wanted, nor since.
    private Dictionary<string, string> _strangers = [];
    private HashSet<LockHandle> _missing = [];
    private int _looksLeft;
    private bool _wasUnknown;
    private bool _ended;

    public LockSession(ILockSessionLink link, TimeProvider time, ILogger logger)
    {
        (_link, _time, _logger) = (link, time, logger.Guarded());
        _made = _looked = time.GetTimestamp();
        _loops = Task.WhenAll(Detached.Run(WatchAsync), Detached.Run(LookAsync));
        // Last: one that is lost already calls at once.
        link.Lease.Lost.UnsafeRegister(static session => ((LockSession)session!).Lose(LeaseLost), this);
    }

    public long Id => _link.Lease.Id;

    public TimeSpan Age => _time.GetElapsedTime(_made);

    public TimeSpan Ttl => _link.Lease.Ttl;

    public TimeSpan Remaining => HasEnded ? TimeSpan.Zero : _link.Lease.Remaining;

    /// <summary>Whether nothing can be held by it any more.</summary>
    public bool HasEnded => Volatile.Read(ref _ended) || _link.Lease.State is LeaseState.Lost or LeaseState.Released;

    /// <summary>Cancelled when the session has ended.</summary>
    public CancellationToken Ended => _stop.Token;

    /// <summary>Names a request, which is wanted from now on.</summary>
    public LockRequest Want(string lockName, LockRequest template)
    {
        lock (_lock)
        {
            var request = template with { Session = Id, SessionRevision = _link.Revision, RequestId = _ids.Take(lockName), Attempt = ++_attempts };
            var entry = LockLayout.Entry(request);
            _wanted[entry] = null;
            _strangers.Remove(entry);
            _looksLeft = 2;
            return request;
        }
    }

    /// <summary>Says that a request is held; false where it was taken away before.</summary>
    public bool Hold(LockHandle handle)
    {
        lock (_lock)
        {
            if (HasEnded || _forced.Contains(SessionLayout.Forced(handle.FencingToken, handle.Entry)))
                return false;
            _wanted[handle.Entry] = handle;
            return true;
        }
    }

    /// <summary>Says that the request is not wanted any more, and is gone already; and whether its id may be used again.</summary>
    public void Forget(string lockName, LockRequest request, bool isClean)
    {
        lock (_lock)
        {
            // What was lost may be on its way to be removed.
            if (_wanted.Remove(LockLayout.Entry(request)) && isClean)
                _ids.GiveBack(lockName, request.RequestId);
            _looksLeft = 2;
        }
    }

    /// <summary>
    /// Says that the request is not wanted any more, and does what makes it go, again and again until that succeeds or the
    /// session ends.
    /// </summary>
    public void Abandon(LockRequest request, Func<Task> remove)
    {
        Forget("", request, isClean: false);
        if (!HasEnded)
            _ = Detached.Run(() => RemoveAsync(remove));
    }

    /// <summary>etcd has said that the session is gone.</summary>
    public void NoteGone() => Lose("etcd ended it");

    /// <summary>The silos do not know it; whether that was so as soon as it was made, for all who have asked with it.</summary>
    public bool NoteUnknown(TimeSpan soon)
    {
        lock (_lock)
            _wasUnknown |= !_ended && Age < soon;
        NoteGone();
        return _wasUnknown;
    }

    /// <summary>Ends the session; all that is held by it is free at once, if etcd can be told.</summary>
    public async ValueTask DisposeAsync()
    {
        // A lease that is lost by now, and nobody was told, is no doing of ours.
        var isHeld = !HasEnded;
        Lose(isHeld ? "this process is stopping" : LeaseLost, isOwnDoing: isHeld);
        await _closed.Task.ConfigureAwait(false);
    }

    /// <summary>Whoever still holds something knows before others can have it: the lease is given back after that.</summary>
    private void Lose(string reason, bool isOwnDoing = false)
    {
        LockHandle[] held;
        lock (_lock)
        {
            if (_ended)
                return;
            Volatile.Write(ref _ended, true);
            held = [.. _wanted.Values.OfType<LockHandle>()];
            _wanted.Clear();
        }

        Task[] told = [.. held.Select(handle => handle.Lose(isOwnDoing)).OfType<Task>()];
        _ = Detached.Run(() => CloseAsync(told));
        if (told.Length > 0 && isOwnDoing)
            Log.Ended(_logger, Id, told.Length, reason);
        else if (told.Length > 0)
            Log.Lost(_logger, Id, told.Length, reason);
    }

    private async Task CloseAsync(Task[] told)
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await Task.WhenAll(told).WaitAsync(TellTimeout).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        using var limit = new CancellationTokenSource(CloseTimeout);
        try
        {
            // Where only its key was deleted, the lease itself lives, and others wait for it.
            await _link.Lease.RevokeAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // Whatever it is that keeps us from saying so, it expires.
            Log.LeftToExpire(_logger, exception, Id);
        }

        await _loops.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await _link.DisposeAsync().ConfigureAwait(false);
        _closed.SetResult();
    }

    /// <summary>Notices at once that etcd has ended the session, or that one of its locks was released by force.</summary>
    private async Task WatchAsync()
    {
        var known = 0;
        var pause = FirstPause;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var state = await _link.WatchAsync(known, _stop.Token).ConfigureAwait(false);
                pause = FirstPause;
                known = state.Forced.Length;
                foreach (var forced in state.Forced)
                    LoseByForce(forced);
                if (state.IsAlive)
                    continue;
                NoteGone();
                return;
            }
            catch (Exception exception) when (!_stop.IsCancellationRequested)
            {
                Log.NotWatched(_logger, exception, Id);
                await Task.Delay(pause, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                pause = Backoff.Longer(pause, LongestPause);
            }
        }
    }

    private void LoseByForce(string forced)
    {
        LockHandle? handle;
        lock (_lock)
        {
            // Its owner may not have heard yet that it was granted.
            _forced.Add(forced);
            handle = _wanted.Values.FirstOrDefault(held => held is not null && SessionLayout.Forced(held.FencingToken, held.Entry) == forced);
        }

        if (handle is not null)
            Lose(handle, "it was released by force");
    }

    private void Lose(LockHandle handle, string reason)
    {
        lock (_lock)
        {
            if (_wanted.GetValueOrDefault(handle.Entry) == handle)
                _wanted.Remove(handle.Entry);
        }

        if (handle.Lose() is not null)
            Log.OneLost(_logger, handle.Name, handle.FencingToken, reason);
    }

    private async Task RemoveAsync(Func<Task> remove)
    {
        for (var pause = FirstPause; !HasEnded; pause = Backoff.Longer(pause, LongestPause))
        {
            try
            {
                await remove().ConfigureAwait(false);
                return;
            }
            catch (Exception exception)
            {
                Log.NotRemoved(_logger, exception, Id);
            }

            await Task.Delay(Backoff.Jittered(pause), _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
