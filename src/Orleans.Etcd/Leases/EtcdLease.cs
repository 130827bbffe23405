namespace Orleans.Etcd;

/// <summary>
/// A lease that is kept alive, judged by its owner's own monotonic clock.
/// </summary>
/// <remarks>
/// <para>Invariant: the server keeps the lease at least until the time of SENDING the last answered renewal plus the
/// granted TTL. The deadline lies a margin before that, and the lease is lost at the deadline: <see cref="Lost"/> fires
/// before the server can expire it, in a process that is not frozen and whose timers are not later than the margin. Loss
/// is final: an answer that comes later changes nothing.</para>
/// <para>Survives: outages and restarts of etcd, of any member or all, that end before the deadline; since a renewal is
/// sent every third of the TTL, these are all that leave, of two thirds of it, the margin and the time to connect again
/// (<c>MaxReconnectBackoff</c> at most, 1 s by default). Does not survive:
/// an outage longer than the TTL; a process frozen for longer; etcd revoking a live lease, which it does when a leader
/// that was frozen for longer than the TTL resumes. The owner learns of the last one only at its next renewal, after a
/// third of the TTL at most, so whoever relies on a lease also watches its key.</para>
/// </remarks>
internal sealed class EtcdLease : IAsyncDisposable
{
    private static readonly TimeSpan LongestMargin = TimeSpan.FromMilliseconds(500);

    private readonly object _lock = new();
    private readonly ILeaseKeeper _keeper;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _lost = new();
    private readonly Queue<long> _unanswered = new();
    private readonly ITimer _timer;
    private long _lastAnswered;
    private long _nextRenewal;
    private TimeSpan _ttl;
    private LeaseState _end = LeaseState.Held;

    public EtcdLease(ILeaseKeeper keeper, TimeProvider time, long id, TimeSpan ttl, long sent)
    {
        _keeper = keeper;
        _time = time;
        _ttl = ttl;
        _lastAnswered = sent;
        _nextRenewal = After(sent, ttl / 3);
        Id = id;
        _timer = Detached.CreateTimer(time, static lease => ((EtcdLease)lease!).CheckDeadline(), this);
        CheckDeadline();
    }

    /// <summary>etcd's id of the lease.</summary>
    public long Id { get; }

    /// <summary>The time to live that etcd granted, in whole seconds; never less than what was asked for.</summary>
    public TimeSpan Ttl
    {
        get
        {
            lock (_lock)
                return _ttl;
        }
    }

    /// <summary>Cancelled once the lease must be taken for lost; not when its owner releases it.</summary>
    public CancellationToken Lost => _lost.Token;

    /// <summary>How long until it is taken for lost unless a renewal is answered; zero when it is not held.</summary>
    public TimeSpan Remaining
    {
        get
        {
            lock (_lock)
                return _end == LeaseState.Held ? Max(TimeSpan.Zero, RemainingAtNow()) : TimeSpan.Zero;
        }
    }

    /// <summary>The state by the clock, exact even when the timer that announces it is late.</summary>
    public LeaseState State
    {
        get
        {
            lock (_lock)
            {
                if (_end != LeaseState.Held)
                    return _end;
                var remaining = RemainingAtNow();
                if (remaining <= TimeSpan.Zero)
                    return LeaseState.Lost;
                return _time.GetElapsedTime(_lastAnswered) > _ttl / 2 ? LeaseState.Unknown : LeaseState.Held;
            }
        }
    }

    /// <summary>Whether its end was noted. From then on it is not to be renewed.</summary>
    public bool HasEnded
    {
        get
        {
            lock (_lock)
                return _end != LeaseState.Held;
        }
    }

    /// <summary>When the next renewal is due, as a timestamp. The keeper's loop only.</summary>
    public long NextRenewal
    {
        get
        {
            lock (_lock)
                return _nextRenewal;
        }
    }

    /// <summary>When the renewal that waits longest was sent, or null. The keeper's loop only.</summary>
    public long? OldestUnanswered
    {
        get
        {
            lock (_lock)
                return _unanswered.TryPeek(out var sent) ? sent : null;
        }
    }

    /// <summary>Gives the lease back: etcd deletes its keys. Idempotent.</summary>
    /// <exception cref="EtcdException">etcd did not confirm; then the keys go when the TTL has passed.</exception>
    public async Task RevokeAsync(CancellationToken cancellationToken = default)
    {
        lock (_lock)
        {
            if (_end != LeaseState.Held)
                return;
            _end = LeaseState.Released;
        }

        _keeper.Remove(this);
        await _timer.DisposeAsync().ConfigureAwait(false);
        await _keeper.RevokeAsync(Id, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Revokes the lease; when etcd cannot be reached it is left to expire.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await RevokeAsync().ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is EtcdException or ObjectDisposedException)
        {
            _keeper.LeftToExpire(this, exception);
        }
    }

    /// <summary>Notes that a renewal is about to be sent on the present stream.</summary>
    public void Sending(long now)
    {
        lock (_lock)
        {
            _unanswered.Enqueue(now);
            _nextRenewal = After(now, _ttl / 3);
        }
    }

    /// <summary>
    /// Notes etcd's answer to the oldest unanswered renewal of the present stream; etcd answers a stream in order.
    /// </summary>
    public void Answered(TimeSpan ttl)
    {
        lock (_lock)
        {
            if (_end != LeaseState.Held || !_unanswered.TryDequeue(out var sent))
                return;
            if (ttl > TimeSpan.Zero && RemainingAtNow() > TimeSpan.Zero)
            {
                _lastAnswered = sent;
                _ttl = ttl;
                return;
            }

            // Gone at the server, or answered after the deadline: whoever owns it may have been told so already.
            _end = LeaseState.Lost;
        }

        Announce(ttl > TimeSpan.Zero ? LeaseLoss.NotRenewed : LeaseLoss.Gone);
    }

    /// <summary>
    /// The stream broke: what it still owed is never answered, and is due at once. A lease to which it owed nothing keeps
    /// its turn: were all due at once, those at the end of a long line would be so again and again.
    /// </summary>
    public void StreamLost(long now)
    {
        lock (_lock)
        {
            if (_unanswered.Count > 0)
                _nextRenewal = now;
            _unanswered.Clear();
        }
    }

    /// <summary>Ends it without a word to etcd, when the connection is closed.</summary>
    public void Abandon()
    {
        lock (_lock)
        {
            if (_end != LeaseState.Held)
                return;
            _end = LeaseState.Lost;
        }

        Announce(LeaseLoss.ConnectionClosed);
    }

    private void CheckDeadline()
    {
        lock (_lock)
        {
            if (_end != LeaseState.Held)
                return;
            var remaining = RemainingAtNow();
            if (remaining > TimeSpan.Zero)
            {
                _timer.Change(Max(remaining, TimeSpan.FromMilliseconds(1)), Timeout.InfiniteTimeSpan);
                return;
            }

            _end = LeaseState.Lost;
        }

        Announce(LeaseLoss.NotRenewed);
    }

    private void Announce(LeaseLoss reason)
    {
        _keeper.Remove(this);
        _timer.Dispose();
        _keeper.Announce(this, _lost, reason);
    }

    private TimeSpan RemainingAtNow() => _ttl - Margin(_ttl) - _time.GetElapsedTime(_lastAnswered);

    // What a timer, a queued work item and the owner's callback may take on a busy machine.
    private static TimeSpan Margin(TimeSpan ttl) => ttl / 10 < LongestMargin ? ttl / 10 : LongestMargin;

    private long After(long timestamp, TimeSpan span) => timestamp + (long)(span.TotalSeconds * _time.TimestampFrequency);

    private static TimeSpan Max(TimeSpan a, TimeSpan b) => a > b ? a : b;
}
