using System.Diagnostics;

namespace Orleans.Etcd.Sample;

/// <summary>People keep coming through the turnstiles, whatever happens to the silos; every outcome is counted.</summary>
internal sealed class CallLoop(IGrainFactory grains)
{
    // Every turnstile lets this many through and then the next one opens, so that there are always new grains to place.
    private const int PassagesEach = 5;
    private static readonly TimeSpan PatienceOfOne = TimeSpan.FromSeconds(45);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);
    private static readonly TimeSpan AttemptTimeout = TimeSpan.FromSeconds(3);
    private static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(500);

    private readonly HashSet<string> _silosSeen = [];
    private long _succeeded;
    private long _retried;
    private long _failed;

    /// <summary>Succeeded at once, succeeded after a retry, failed for good.</summary>
    public (long Succeeded, long Retried, long Failed) Counts => (Interlocked.Read(ref _succeeded), Interlocked.Read(ref _retried), Interlocked.Read(ref _failed));

    /// <summary>The silos that answered since the last time this was asked.</summary>
    public IReadOnlyCollection<string> TakeSilosSeen()
    {
        lock (_silosSeen)
        {
            var seen = _silosSeen.ToArray();
            _silosSeen.Clear();
            return seen;
        }
    }

    /// <summary>Calls until <paramref name="enough"/>, and ends when every call has its outcome, or at <paramref name="abort"/>.</summary>
    public async Task RunAsync(CancellationToken enough, CancellationToken abort)
    {
        var calls = new List<Task>();
        for (var i = 0; !enough.IsCancellationRequested; i++)
        {
            calls.Add(CallAsync(i / PassagesEach, abort));
            calls.RemoveAll(call => call.IsCompletedSuccessfully);
            await Task.Delay(Pause, enough).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await Task.WhenAll(calls);
    }

    private async Task CallAsync(int turnstile, CancellationToken abort)
    {
        var clock = Stopwatch.StartNew();
        for (var attempt = 1; clock.Elapsed < PatienceOfOne; attempt++)
        {
            try
            {
                var passage = await grains.GetGrain<ITurnstile>(turnstile).Enter().WaitAsync(AttemptTimeout, abort);
                lock (_silosSeen)
                    _silosSeen.Add(passage.Silo);
                Interlocked.Increment(ref attempt == 1 ? ref _succeeded : ref _retried);
                return;
            }
            catch (OperationCanceledException) when (abort.IsCancellationRequested)
            {
                return;
            }
            catch (Exception)
            {
                // A silo that is gone and not yet known to be, a connection that broke: the call is tried again, as an
                // application would, and counts as failed if it never succeeds.
                await Task.Delay(RetryPause, abort).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }

        Interlocked.Increment(ref _failed);
    }
}
