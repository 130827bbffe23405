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
    private readonly ConcurrentQueue<string> _lost = [];
    private readonly ConcurrentBag<Task> _unanswered = [];
    private readonly ConcurrentDictionary<string, byte> _expected = [];
    private int _processes;

    public string Name => name;

    public IReadOnlyList<Step> Steps => [.. _steps];

    /// <summary>Calls that ended later than their own timeout allows.</summary>
    public IReadOnlyCollection<string> Hung => _hung;

    /// <summary>Calls of grains that nobody answered, so that Orleans ended them.</summary>
    public IReadOnlyCollection<string> Lost => _lost;

    /// <summary>The capabilities of which it is judged how long they are away; what is asked too rarely is none of them.</summary>
    public IEnumerable<string> Expected => _expected.Keys;

    public void Expect(string capability) => _expected[capability] = 0;

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
        catch (Exception exception) when (exception is EtcdException or OrleansException or TimeoutException || (exception is OperationCanceledException && limit.IsCancellationRequested))
        {
            // What is said to be surely not done is judged by that.
            var outcome = exception is EtcdException { OutcomeUnknown: false } ? Outcome.Fail : Outcome.Unknown;
            done = begun with { Outcome = outcome, Error = $"{exception.GetType().Name}: {exception.Message}" };
        }

        done = done with { Invoked = invoked, Ended = MonotonicClock.Now };
        if (!running.IsCompleted)
            _unanswered.Add(FollowAsync(running, done, timeout));
        else
            CheckEnd(running, done, timeout);
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
        CheckEnd(running, step with { Ended = MonotonicClock.Now }, timeout);
    }

    private void CheckEnd(Task running, Step done, TimeSpan timeout)
    {
        var text = $"{name}: {done.Action} of process {done.Process} took {(done.Ended - done.Invoked) / 1e6:0.0} s, with a timeout of {timeout.TotalSeconds:0.0} s: {done.Error ?? "ok"}";
        if (done.Ended - done.Invoked > (timeout + Grace).Micros())
            _hung.Enqueue(text);
        // The library's own are EtcdExceptions.
        if (running.Exception?.GetBaseException() is TimeoutException)
            _lost.Enqueue(text);
        else if (running.Exception?.GetBaseException() is { } exception and not EtcdException and not OrleansException)
            _hung.Enqueue($"{text}; it threw what it should not: {exception}");
    }

    /// <summary>The longest time, within this span, in which one and the same capability was not seen to work.</summary>
    public TimeSpan LongestOutage(long from, long to)
    {
        var longest = 0L;
        foreach (var capability in Expected)
        {
            var last = from;
            foreach (var ended in Successes(capability).Where(ended => ended >= from && ended <= to).Order().Append(to))
            {
                longest = Math.Max(longest, ended - last);
                last = ended;
            }
        }

        return TimeSpan.FromMicroseconds(longest);
    }

    /// <summary>How long after a moment everything had worked; null if something did not.</summary>
    public TimeSpan? RecoveredAfter(long moment)
    {
        var first = Expected.Select(capability => Successes(capability).Where(ended => ended >= moment).DefaultIfEmpty(long.MaxValue).Min()).ToArray();
        return first.Contains(long.MaxValue) ? null : TimeSpan.FromMicroseconds(first.DefaultIfEmpty(moment).Max() - moment);
    }

    private IEnumerable<long> Successes(string capability) => _steps.Where(step => step.Succeeded && step.Capability == capability).Select(step => step.Ended);
}
