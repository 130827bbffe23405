namespace Orleans.Etcd;

/// <summary>
/// How often and how soon a call is tried again. A timeout is spent once more on another member and never twice
/// on a single one; quick failures go on, every member once and then a pause, and no attempt after one begins later
/// than the time of one timeout. Invariant: all attempts together take at most twice the timeout, however quick
/// failures and silence follow each other.
/// </summary>
internal struct RetryBudget(int members)
{
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(25);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromMilliseconds(400);

    private int _attempts;
    private int _timeouts;
    private TimeSpan _backoff = FirstBackoff;

    /// <summary>The time left for one more attempt.</summary>
    public readonly TimeSpan NextAttemptAtMost(TimeSpan elapsed, TimeSpan timeout)
    {
        if (_attempts == 0)
            return timeout;
        var left = (2 * timeout) - elapsed;
        return left > timeout ? timeout : left > TimeSpan.Zero ? left : TimeSpan.Zero;
    }

    public TimeSpan? Next(EtcdErrorCode code, TimeSpan elapsed, TimeSpan timeout)
    {
        _attempts++;
        if (elapsed >= 2 * timeout)
            return null;
        if (code == EtcdErrorCode.Timeout)
            return ++_timeouts > 1 || members == 1 ? null : TimeSpan.Zero;
        if (code == EtcdErrorCode.AuthenticationFailed)
            return ++_timeouts > 1 ? null : TimeSpan.Zero;
        if (elapsed > timeout)
            return null;
        if (_attempts % members != 0)
            return TimeSpan.Zero;
        var pause = _backoff * (0.5 + Random.Shared.NextDouble());
        _backoff = TimeSpan.FromTicks(Math.Min(_backoff.Ticks * 2, LongestBackoff.Ticks));
        return elapsed + pause > timeout ? null : pause;
    }
}
