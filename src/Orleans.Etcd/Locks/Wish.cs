namespace Orleans.Etcd;

/// <summary>How long somebody is willing to wait for a lock, and how long to put up with failures on the way.</summary>
internal sealed class Wish(LockContext context, long started, TimeSpan? wait)
{
    // Of a wait without an end; far more than any call.
    private static readonly TimeSpan Ever = TimeSpan.FromDays(1);

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(1);

    /// <summary>What is left of the wait; zero: not to wait any more.</summary>
    public TimeSpan Left
    {
        get
        {
            if (wait is not { } limit)
                return Ever;
            var left = limit - context.Time.GetElapsedTime(started);
            return left > TimeSpan.Zero ? left : TimeSpan.Zero;
        }
    }

    /// <summary>Makes a call, and again where it failed in a way that passes: until the wait is over, or nothing has worked for too long.</summary>
    public async Task<T> RepeatAsync<T>(Func<CancellationToken, Task<T>> call, CancellationToken cancellationToken)
    {
        long? failing = null;
        var pause = FirstPause;
        while (true)
        {
            var begun = context.Time.GetTimestamp();
            try
            {
                return await call(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (Passes(exception) && !cancellationToken.IsCancellationRequested)
            {
                failing ??= begun;
                if (Left == TimeSpan.Zero || context.Time.GetElapsedTime(failing.Value) > context.OutageTimeout)
                    throw;
            }

            await Task.Delay(pause * (0.5 + (Random.Shared.NextDouble() / 2)), context.Time, cancellationToken).ConfigureAwait(false);
            pause = pause * 2 < LongestPause ? pause * 2 : LongestPause;
        }
    }

    /// <summary>Whether trying again can help: etcd, the silo or the way to it was not there.</summary>
    private static bool Passes(Exception exception) =>
        exception is EtcdException { IsTransient: true } or EtcdException { OutcomeUnknown: true } or OrleansException or TimeoutException;
}
