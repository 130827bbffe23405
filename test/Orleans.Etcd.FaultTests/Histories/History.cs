using System.Collections.Concurrent;

namespace Orleans.Etcd.FaultTests.Histories;

/// <summary>What the processes of one workload asked, and how each was answered.</summary>
/// <remarks>
/// A process asks one thing at a time. One whose question came to an unknown end goes on under another number, since what it
/// asked may still be done beside what it asks next.
/// </remarks>
/// <param name="name">For the report.</param>
/// <param name="occasional">What is asked too rarely for the time until its next success to tell anything.</param>
internal sealed class History(string name, params string[] occasional)
{
    /// <summary>How much later than its own timeout a call may end.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    private readonly ConcurrentQueue<Step> _steps = [];
    private readonly ConcurrentQueue<string> _hung = [];
    private readonly ConcurrentBag<Task> _unanswered = [];
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
    /// <param name="patience">After this the asker goes on with something else; whether it gives up in time is seen to all the same.</param>
    public async Task<T> RunAsync<T>(T begun, TimeSpan timeout, Func<CancellationToken, Task<T>> act, TimeSpan? patience = null)
        where T : Step
    {
        using var limit = new CancellationTokenSource(timeout);
        var invoked = MonotonicClock.Now;
        T done;
        // A call that never ends is told of here, and must not hold up the run.
        var running = act(limit.Token);
        try
        {
            done = await running.WaitAsync(patience ?? timeout + (Grace * 5));
        }
        catch (Exception exception) when (exception is EtcdException or OrleansException or TimeoutException or OperationCanceledException)
        {
            done = begun with { Outcome = Outcome.Unknown, Error = $"{exception.GetType().Name}: {exception.Message}" };
        }

        done = done with { Invoked = invoked, Ended = MonotonicClock.Now };
        if (!running.IsCompleted)
            _unanswered.Add(FollowAsync(running, done, timeout));
        else
            CheckTime(done, timeout);
        _steps.Enqueue(done);
        return done;
    }

    /// <summary>Waits for all that was asked and not waited for, each for as long as it may take.</summary>
    public Task FinishAsync() => Task.WhenAll(_unanswered);

    private async Task FollowAsync(Task running, Step step, TimeSpan timeout)
    {
        var left = step.Invoked + (timeout + (Grace * 5)).Micros() - MonotonicClock.Now;
        await running.WaitAsync(TimeSpan.FromMicroseconds(Math.Max(0, left))).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (!running.IsCompleted)
            _ = running.ContinueWith(late => late.Exception, TaskScheduler.Default);
        CheckTime(step with { Ended = MonotonicClock.Now }, timeout);
    }

    private void CheckTime(Step done, TimeSpan timeout)
    {
        if (done.Ended - done.Invoked > (timeout + Grace).Micros())
            _hung.Enqueue($"{name}: {done.Action} of process {done.Process} took {(done.Ended - done.Invoked) / 1e6:0.0} s, with a timeout of {timeout.TotalSeconds:0.0} s: {done.Error ?? "ok"}");
    }

    /// <summary>The longest time, within this span, in which one and the same capability was not seen to work.</summary>
    public TimeSpan LongestOutage(long from, long to)
    {
        var longest = 0L;
        foreach (var capability in Successes(step => step.Ended >= from && step.Ended <= to))
        {
            // What had not worked before is not away, it has not begun.
            var worked = _steps.Any(step => step.Succeeded && step.Ended < from && step.Capability == capability.Key);
            var last = worked ? from : capability.Min(step => step.Ended);
            foreach (var ended in capability.Select(step => step.Ended).Order().Append(to))
            {
                longest = Math.Max(longest, ended - last);
                last = ended;
            }
        }

        return TimeSpan.FromMicroseconds(longest);
    }

    /// <summary>How long after a moment everything that had worked before had worked again; null if something did not.</summary>
    public TimeSpan? RecoveredAfter(long moment)
    {
        var after = Successes(step => step.Ended >= moment).ToDictionary(capability => capability.Key, capability => capability.Min(step => step.Ended));
        var before = Successes(step => step.Ended < moment).Select(capability => capability.Key).ToArray();
        if (before.Length == 0 || !before.All(after.ContainsKey))
            return null;
        return TimeSpan.FromMicroseconds(before.Max(capability => after[capability]) - moment);
    }

    private IEnumerable<IGrouping<string, Step>> Successes(Func<Step, bool> when) =>
        _steps.Where(step => step.Succeeded && !occasional.Contains(step.Action) && when(step)).GroupBy(step => step.Capability);
}
