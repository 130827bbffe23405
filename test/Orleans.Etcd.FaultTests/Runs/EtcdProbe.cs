using System.Collections.Concurrent;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>
/// Whether etcd itself answers what takes a quorum, through whichever member, asked without the library: for as long as it elects a
/// leader nothing can work that is made of it.
/// </summary>
internal sealed class EtcdProbe : IAsyncDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(0.2);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(0.5);

    private readonly ConcurrentQueue<long> _answered = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _asking;

    public EtcdProbe(IEnumerable<EtcdServer> members) => _asking = Task.WhenAll(members.Select(member => Task.Run(() => AskAsync(member))));

    /// <summary>The longest time, within this span, without any answer.</summary>
    public TimeSpan LongestOutage(long from, long to) => LongestOutage(_answered, from, to);

    public static TimeSpan LongestOutage(IEnumerable<long> answered, long from, long to)
    {
        var (longest, last) = (0L, from);
        foreach (var at in answered.Where(at => at > from && at < to).Order().Append(to))
            (longest, last) = (Math.Max(longest, at - last), at);
        return TimeSpan.FromMicroseconds(longest);
    }

    /// <summary>Waits for the next answer.</summary>
    public async Task AnswersAsync(TimeSpan within)
    {
        var from = MonotonicClock.Now;
        while (!_answered.Any(at => at > from))
        {
            if (MonotonicClock.Now > from + within.Micros())
                throw new TimeoutException($"No member of etcd answered within {within.TotalSeconds:0} s.");
            await Task.Delay(20);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _asking;
        _stop.Dispose();
    }

    private async Task AskAsync(EtcdServer member)
    {
        while (!_stop.IsCancellationRequested)
        {
            using var attempt = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
            attempt.CancelAfter(Patience);
            try
            {
                await member.GetRevisionAsync(attempt.Token);
                _answered.Enqueue(MonotonicClock.Now);
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // Whatever it is, it is no answer.
            }

            await Task.Delay(Interval, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
