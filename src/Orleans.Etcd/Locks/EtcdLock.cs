using System.Diagnostics;

namespace Orleans.Etcd;

/// <summary>One lock as a process sees it: asks its grain, again and again where that is needed, until there is an answer.</summary>
internal sealed class EtcdLock : ILock
{
    // More than the call itself takes in its silo; then another is asked, should this one have died or hang.
    private static readonly TimeSpan AnswerDelay = TimeSpan.FromSeconds(5);

    // More than a call to etcd takes that is refused: then it says why.
    private static readonly TimeSpan SessionDelay = TimeSpan.FromSeconds(6);

    // Before asking again for what might be answered at once.
    private static readonly TimeSpan HastyAnswer = TimeSpan.FromMilliseconds(100);

    private readonly LockContext _context;
    private readonly LockRequest _template;
    private readonly ILockQueueGrain _grain;
    private readonly KeyValuePair<string, object?> _tag;
    private readonly string _idsFor;

    public EtcdLock(LockContext context, LockKind kind, string name, int permits = 1, bool isRead = false)
    {
        _context = context;
        _template = new LockRequest { Session = 1, RequestId = "-", Permits = permits, IsRead = isRead, Owner = context.Owner };
        // The root of the keys is the silos' affair and may be unknown here; what else is wrong is said at once.
        _ = new LockLayout("-", "-", kind, name).Claim(_template);
        _grain = context.Grain(kind, name);
        _tag = new("kind", kind switch { LockKind.Semaphore => "semaphore", LockKind.ReadWrite => isRead ? "read" : "write", _ => "mutex" });
        // Readers' and writers' keys are not the same.
        _idsFor = $"{_tag.Value} {name}";
        Name = name;
    }

    public string Name { get; }

    public async Task<ILockHandle> AcquireAsync(CancellationToken cancellationToken = default) =>
        await AcquireAsync(wait: null, cancellationToken).ConfigureAwait(false) ?? throw new UnreachableException();

    public async Task<ILockHandle?> TryAcquireAsync(TimeSpan wait = default, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(wait, TimeSpan.Zero);
        return await AcquireAsync(wait, cancellationToken).ConfigureAwait(false);
    }

    public Task<LockStatus> GetStatusAsync() => _grain.GetStatus();

    public Task<bool> ForceReleaseAsync(long token) => _grain.ForceRelease(token);

    private async Task<LockHandle?> AcquireAsync(TimeSpan? wait, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        // Off the caller's scheduler: a grain that waits here is collected, or its silo stops, without this being stopped
        // half-way, and nothing below runs in its turns.
        await Detached.OffScheduler();
        var parent = Activity.Current?.Context ?? default;
        using var span = EtcdActivity.Start("lock acquire", _tag, Name, parent);
        var started = _context.Time.GetTimestamp();
        var outcome = "failed";
        EtcdMeter.LocksWaiting.Add(1, _tag);
        try
        {
            var handle = await AskAsync(new Wish(_context, started, wait), parent, cancellationToken).ConfigureAwait(false);
            outcome = handle is null ? "not_free" : "granted";
            span?.SetTag("orleans.etcd.lock.token", handle?.FencingToken);
            return handle;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            outcome = "cancelled";
            throw;
        }
        catch (OperationCanceledException) when (_context.Stopping.IsCancellationRequested)
        {
            throw NoWait();
        }
        catch (Exception exception)
        {
            span?.SetStatus(ActivityStatusCode.Error, exception.Message);
            throw;
        }
        finally
        {
            span?.SetTag("orleans.etcd.lock.outcome", outcome);
            EtcdMeter.LocksWaiting.Add(-1, _tag);
            EtcdMeter.LockAcquireDuration.Record(_context.Time.GetElapsedTime(started).TotalSeconds, _tag, new("outcome", outcome));
        }
    }

    /// <summary>Asks under one id after another: another one only where nothing is left of the last.</summary>
    private async Task<LockHandle?> AskAsync(Wish wish, ActivityContext parent, CancellationToken cancellationToken)
    {
        while (true)
        {
            using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, EndOfWaits(wish));
            var session = await wish.RepeatAsync(token => SessionAsync(wish, token), waiting.Token).ConfigureAwait(false);
            var request = session.Want(_idsFor, _template);
            LockAnswer answer;
            bool isClean;
            try
            {
                (answer, isClean) = await AskAsync(wish, session, request, cancellationToken).ConfigureAwait(false);
            }
            catch
            {
                session.Abandon(request, () => _grain.Cancel(request));
                throw;
            }

            if (answer.Outcome == LockOutcome.Granted)
            {
                var handle = new LockHandle(Name, LockLayout.Entry(request), answer.Token, session, held => ReleaseAsync(held, session, request, isClean), _tag, EtcdActivity.StartDetached("lock held", _tag, Name, parent));
                if (session.Hold(handle))
                    return handle;
                _ = handle.Lose();
            }

            if (answer.Outcome == LockOutcome.NotFree)
            {
                session.Forget(_idsFor, request, isClean);
                return null;
            }

            // Whether anything of it is there or not.
            session.Abandon(request, () => _grain.Cancel(request));
            await Task.Delay(HastyAnswer, _context.Time, cancellationToken).ConfigureAwait(false);
            if (answer.Outcome == LockOutcome.SessionLost)
                await wish.NoteSessionLostAsync(session, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>The session, which others may wait for longer.</summary>
    private async Task<LockSession> SessionAsync(Wish wish, CancellationToken cancellationToken)
    {
        var limit = (_context.Stopping.IsCancellationRequested ? TimeSpan.Zero : wish.Left) + SessionDelay;
        var opening = Detached.Observed(_context.Sessions.GetAsync(cancellationToken));
        try
        {
            return await opening.WaitAsync(limit, _context.Time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException) when (!opening.IsCompleted)
        {
            throw new TimeoutException($"This process has no session for its locks: who keeps it, etcd or a silo, has not answered within {limit.TotalSeconds:0.0} s.");
        }
    }

    /// <summary>Cancelled when the silo begins to stop; not for those who do not wait, nor for those who come later: they have what is free.</summary>
    private CancellationToken EndOfWaits(Wish wish) =>
        wish.Left == TimeSpan.Zero || _context.Stopping.IsCancellationRequested ? CancellationToken.None : _context.Stopping;

    private static ObjectDisposedException NoWait() => new(nameof(ILocks), "This silo is about to stop: nobody waits for a lock here any more.");

    /// <summary>
    /// Asks until there is a last word about this request, or its session has ended; and says whether each call was answered.
    /// </summary>
    private async Task<(LockAnswer Answer, bool IsClean)> AskAsync(Wish wish, LockSession session, LockRequest request, CancellationToken cancellationToken)
    {
        var (unanswered, calls) = (0, 0);
        // In this order: a silo that begins to stop in between ends the wait either way.
        var endOfWaits = EndOfWaits(wish);
        var isStopping = _context.Stopping.IsCancellationRequested;
        using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, session.Ended, endOfWaits);
        try
        {
            while (true)
            {
                var asked = _context.Time.GetTimestamp();
                var answer = await wish.RepeatAsync(AskOnceAsync, either.Token).ConfigureAwait(false);
                if (isStopping && answer.Outcome is LockOutcome.Queued or LockOutcome.NotFree && wish.Left > TimeSpan.Zero)
                    throw NoWait();
                if (answer.Outcome != LockOutcome.Queued)
                    return (answer, unanswered == 0);
                // A silo that is about to stop lets nobody wait.
                if (_context.Time.GetElapsedTime(asked) < HastyAnswer)
                    await Task.Delay(HastyAnswer, _context.Time, either.Token).ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (session.Ended.IsCancellationRequested && !cancellationToken.IsCancellationRequested && (exception is OperationCanceledException || Passing.Is(exception)))
        {
            return (new LockAnswer(LockOutcome.SessionLost, 0), false);
        }

        async Task<LockAnswer> AskOnceAsync(CancellationToken token)
        {
            var left = isStopping ? TimeSpan.Zero : wish.Left;
            var call = left < _context.MaxCall ? left : _context.MaxCall;
            unanswered++;
            var answer = await Detached.Observed(_grain.Acquire(request with { MaxWait = left, MaxCall = _context.MaxCall, IsFirstCall = calls++ == 0 })).WaitAsync(call + AnswerDelay, _context.Time, token).ConfigureAwait(false);
            unanswered--;
            return answer;
        }
    }

    private async Task ReleaseAsync(LockHandle handle, LockSession session, LockRequest request, bool isClean)
    {
        await Detached.OffScheduler();
        try
        {
            var isReleased = !session.HasEnded && await Detached.Observed(_grain.Release(request, handle.FencingToken)).WaitAsync(_context.ReleaseTimeout, _context.Time).ConfigureAwait(false);
            session.Forget(_idsFor, request, isClean && isReleased);
        }
        catch (Exception)
        {
            // Whatever it is: it is tried until it has succeeded, and the lease ends with this process at the latest.
            session.Abandon(request, () => _grain.Release(request, handle.FencingToken));
        }
    }
}
