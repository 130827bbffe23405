using System.Diagnostics;

namespace Orleans.Etcd;

/// <summary>One held lock. Its session says how long it is.</summary>
internal sealed class LockHandle : ILockHandle
{
    private readonly object _lock = new();
    private readonly CancellationTokenSource _lost = new();
    private readonly LockSession _session;
    private readonly Func<LockHandle, Task> _release;
    private readonly KeyValuePair<string, object?> _kind;
    private readonly Activity? _held;
    private Task? _released;
    private bool _isLost;

    public LockHandle(string name, string entry, long token, LockSession session, Func<LockHandle, Task> release, KeyValuePair<string, object?> kind, Activity? held)
    {
        (Name, Entry, FencingToken, _session, _release, _kind, _held) = (name, entry, token, session, release, kind, held);
        EtcdMeter.LocksHeld.Add(1, kind);
    }

    public string Name { get; }

    /// <summary>What names it within its session.</summary>
    public string Entry { get; }

    public long FencingToken { get; }

    public CancellationToken LostToken => _lost.Token;

    public TimeSpan Remaining
    {
        get
        {
            lock (_lock)
                return _isLost || _released is not null ? TimeSpan.Zero : _session.Remaining;
        }
    }

    /// <summary>Announces its loss; a task that ends when all callbacks have run, or null where it was not held any more.</summary>
    /// <param name="isOwnDoing">The process lets go of it, as when it stops: its holder has to know, and nobody else.</param>
    public Task? Lose(bool isOwnDoing = false)
    {
        lock (_lock)
        {
            if (_isLost || _released is not null)
                return null;
            _isLost = true;
        }

        // Callbacks, of however many handles, run elsewhere: none makes the news late for another. Their failures are theirs.
        var told = Detached.Observed(_lost.CancelAsync());
        EtcdMeter.LocksHeld.Add(-1, _kind);
        if (!isOwnDoing)
            EtcdMeter.LocksLost.Add(1, _kind);
        EtcdActivity.StopDetached(isOwnDoing ? _held : _held?.SetStatus(ActivityStatusCode.Error, "lost"));
        return told;
    }

    /// <summary>Releases it. Idempotent; returns when it is released, or will be without any more help.</summary>
    public async ValueTask DisposeAsync()
    {
        TaskCompletionSource? own = null;
        Task released;
        lock (_lock)
        {
            if (_isLost)
                return;
            if (_released is null)
            {
                own = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                _released = own.Task;
            }

            released = _released;
        }

        if (own is null)
        {
            await released.ConfigureAwait(false);
            return;
        }

        EtcdMeter.LocksHeld.Add(-1, _kind);
        EtcdActivity.StopDetached(_held);
        // Not under the lock: a call filter of the user's may run in it.
        await _release(this).ConfigureAwait(false);
        own.SetResult();
    }
}
