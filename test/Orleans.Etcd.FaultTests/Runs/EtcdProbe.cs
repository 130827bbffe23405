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

    private const string Answer = "answer";

    private readonly CancellationTokenSource _stop = new();
    private readonly Task _asking;

    public EtcdProbe(IEnumerable<EtcdServer> members)
    {
        Answers.Expect(Answer);
        _asking = Task.WhenAll(members.Select(member => Task.Run(() => AskAsync(member))));
    }

    public History Answers { get; } = new("etcd itself");

    /// <summary>Waits for the next answer.</summary>
    public async Task AnswersAsync(TimeSpan within)
    {
        var from = MonotonicClock.Now;
        while (Answers.RecoveredAfter(from) is null)
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
                Answers.Add(new Step(0, Answer) { Ended = MonotonicClock.Now });
            }
            catch (Exception exception) when (exception is not OutOfMemoryException)
            {
                // Whatever it is, it is no answer.
            }

            await Task.Delay(Interval, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
