namespace Orleans.Etcd;

/// <summary>How long somebody is willing to wait for a lock, and how long to put up with failures on the way.</summary>
internal sealed class Wish(LockContext context, long started, TimeSpan? wait)
{
    // Far more than any call, and no more than a timer takes.
    private static readonly TimeSpan Ever = TimeSpan.FromDays(1);

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(1);

    private const int MostUnknown = 3;
    private static readonly TimeSpan FreshSession = TimeSpan.FromSeconds(1);

    private int _unknown;

    /// <summary>What is left of the wait, a day at most; zero: not to wait any more.</summary>
    public TimeSpan Left
    {
        get
        {
            if (wait is not { } limit)
                return Ever;
            var left = limit - context.Time.GetElapsedTime(started);
            return left < TimeSpan.Zero ? TimeSpan.Zero : left < Ever ? left : Ever;
        }
    }

    /// <summary>Makes a call, and again where it failed in a way that passes: until the wait is over, the silo is about to stop, or nothing has worked for too long.</summary>
    public async Task<T> RepeatAsync<T>(Func<CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        long? failing = null;
        var pause = FirstPause;
        while (true)
        {
            try
            {
                return await call(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (Passing.Is(exception))
            {
                cancellationToken.ThrowIfCancellationRequested();
                failing ??= context.Time.GetTimestamp();
                if (Left == TimeSpan.Zero || context.Stopping.IsCancellationRequested || context.Time.GetElapsedTime(failing.Value) > context.OutageTimeout)
                    throw;
            }

            await Task.Delay(Backoff.Jittered(pause), context.Time, cancellationToken).ConfigureAwait(false);
            pause = Backoff.Longer(pause, LongestPause);
        }
    }

    /// <summary>The silo says that etcd does not know the session. Now and then that is so; again and again it is another etcd.</summary>
    /// <exception cref="InvalidOperationException">Several sessions were unknown as soon as they were made.</exception>
    public async Task NoteSessionLostAsync(LockSession session, CancellationToken cancellationToken)
    {
        var young = session.NoteUnknown(FreshSession);
        _unknown = young ? _unknown + 1 : 0;
        if (_unknown >= MostUnknown)
            throw new InvalidOperationException($"The silos' etcd does not know the sessions that this process has just made, {_unknown} in a row: does it use another etcd than the silos?");
        if (young)
            await Task.Delay(LongestPause / 4, context.Time, cancellationToken).ConfigureAwait(false);
    }
}
