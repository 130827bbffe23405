namespace Orleans.Etcd;

/// <summary>
/// How often and how soon a call is tried again, and how long it waits for an attempt before it begins another. Where there are
/// several members a silence is followed by another attempt for as long as there is time for one that says something, and where
/// there is one by none, or by one for a call that insists; a refused token is renewed once; quick failures go on, every member
/// once and then a pause, and no attempt after one begins later than the time of one timeout unless a member has not been asked
/// at all. One attempt more may come between, where others are answered again after an outage; it is no failure and does not count.
/// Invariant: all attempts together, with the fetching of tokens, take at most twice the timeout, in whatever order
/// failures and silence follow each other.
/// </summary>
internal struct RetryBudget(int members)
{
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(25);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromMilliseconds(400);

    // 1 s of 5, 0.5 s where another has kept silent for that long, and 2 s once every member was asked. What is sent on to a leader is
    // lost until the others notice that it died, for up to 2 s; an attempt after that waits where it is for the next leader. Until then
    // one may have lost it, and the next be the one that is cut off: the third is not to wait for both.
    private const double FirstShare = 0.2;
    private const double OthersShare = 0.1;
    private const double LongerShare = 0.4;
    private static readonly TimeSpan LeastShort = TimeSpan.FromMilliseconds(500);

    private int _attempts;
    private int _silences;
    private int _refusals;
    private TimeSpan _backoff = FirstBackoff;

    /// <summary>The time left for everything that is still to be done; zero when there is none.</summary>
    public static TimeSpan Left(TimeSpan elapsed, TimeSpan timeout) => elapsed < 2 * timeout ? (2 * timeout) - elapsed : TimeSpan.Zero;

    /// <summary>
    /// How long the next attempt is waited for. Less where another may follow on another member: what a member has sent on to a
    /// leader that is just dying is lost without a word, etcd itself waits 7 s before it says so, and the next may be that leader.
    /// </summary>
    public readonly TimeSpan Patience(bool mayRepeat, TimeSpan timeout) =>
        mayRepeat && members > 1 && timeout > LeastShort
            ? TimeSpan.FromTicks(Math.Max((timeout * (_silences == 0 ? FirstShare : _silences < members ? OthersShare : LongerShare)).Ticks, LeastShort.Ticks))
            : timeout;

    /// <summary>The pause before another attempt, or null when none is to be begun.</summary>
    /// <param name="failure">Of the last.</param>
    /// <param name="elapsed">Since the call began.</param>
    /// <param name="timeout">Of one attempt.</param>
    /// <param name="insists">Whether a single member that kept silent is asked once more.</param>
    public TimeSpan? Next(in CallFailure failure, TimeSpan elapsed, TimeSpan timeout, bool insists = false)
    {
        _attempts++;
        if (elapsed >= 2 * timeout)
            return null;
        if (failure.BlamesToken)
            return ++_refusals > 1 ? null : TimeSpan.Zero;
        if (failure.IsSilence)
        {
            _silences++;
            return (members > 1 || (insists && _silences == 1)) && Left(elapsed, timeout) >= Patience(mayRepeat: true, timeout) / 2 ? TimeSpan.Zero : null;
        }

        if (_attempts < members)
            return TimeSpan.Zero;
        // A member whose certificate is wrong will not have another soon.
        if (elapsed > timeout || failure.Code == EtcdErrorCode.TlsFailure)
            return null;
        if (_attempts % members != 0)
            return TimeSpan.Zero;
        var pause = _backoff * (0.5 + Random.Shared.NextDouble());
        _backoff = Backoff.Longer(_backoff, LongestBackoff);
        return elapsed + pause > timeout ? null : pause;
    }
}
