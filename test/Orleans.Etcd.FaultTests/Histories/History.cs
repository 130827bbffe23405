using System.Collections.Concurrent;

namespace Orleans.Etcd.FaultTests.Histories;

/// <summary>What the processes of one workload asked, and how each was answered.</summary>
/// <remarks>
/// A process asks one thing at a time. One whose question came to an unknown end goes on under another number, since what it
/// asked may still be done beside what it asks next.
/// </remarks>
internal sealed class History(string name)
{
    /// <summary>How much later than its own timeout a call may end.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    private readonly ConcurrentQueue<Step> _steps = [];
    private readonly ConcurrentQueue<string> _hung = [];
    private int _processes;

    public string Name => name;

    public IReadOnlyList<Step> Steps => [.. _steps];

    /// <summary>Calls that ended later than their own timeout allows.</summary>
    public IReadOnlyCollection<string> Hung => _hung;

    public int NewProcess() => Interlocked.Increment(ref _processes);

    public void Add(Step step) => _steps.Enqueue(step);

    /// <summary>Runs one operation and notes it.</summary>
    /// <param name="begun">What is asked.</param>
    /// <param name="timeout">When it is to give up by itself.</param>
    /// <param name="act">Asks, and answers the step with what was answered.</param>
    public async Task<T> RunAsync<T>(T begun, TimeSpan timeout, Func<CancellationToken, Task<T>> act)
        where T : Step
    {
        using var limit = new CancellationTokenSource(timeout);
        var invoked = MonotonicClock.Now;
        T done;
        var running = act(limit.Token);
        try
        {
            // A call that never ends is told of here, and must not hold up the run.
            done = await running.WaitAsync(timeout + (Grace * 5));
        }
        catch (Exception exception) when (exception is EtcdException or OrleansException or TimeoutException or OperationCanceledException or InvalidOperationException)
        {
            if (!running.IsCompleted)
                _ = running.ContinueWith(late => late.Exception, TaskScheduler.Default);
            done = begun with { Outcome = Outcome.Unknown, Error = $"{exception.GetType().Name}: {exception.Message}" };
        }

        done = done with { Invoked = invoked, Ended = MonotonicClock.Now };
        if (done.Ended - invoked > (timeout + Grace).Micros())
            _hung.Enqueue($"{name}: {done.Action} of process {done.Process} took {(done.Ended - invoked) / 1e6:0.0} s, with a timeout of {timeout.TotalSeconds:0.0} s: {done.Error ?? "ok"}");
        _steps.Enqueue(done);
        return done;
    }

    /// <summary>The longest time, within this span, in which nothing succeeded.</summary>
    public TimeSpan LongestOutage(long from, long to)
    {
        var last = from;
        var longest = 0L;
        foreach (var ended in _steps.Where(step => step.Outcome == Outcome.Ok && step.Ended >= from && step.Ended <= to).Select(step => step.Ended).Order().Append(to))
        {
            longest = Math.Max(longest, ended - last);
            last = ended;
        }

        return TimeSpan.FromMicroseconds(longest);
    }

    /// <summary>How long after a moment something first succeeded; null if nothing did.</summary>
    public TimeSpan? RecoveredAfter(long moment)
    {
        var first = _steps.Where(step => step.Outcome == Outcome.Ok && step.Ended >= moment).Select(step => (long?)step.Ended).Min();
        return first is { } at ? TimeSpan.FromMicroseconds(at - moment) : null;
    }
}
