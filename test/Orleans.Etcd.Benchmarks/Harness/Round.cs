using System.Diagnostics;
using HdrHistogram;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// The latencies of all contenders, measured in turn, operation by operation and in random order: whatever else the
/// machine does at a moment meets them all alike.
/// </summary>
internal sealed class Round
{
    private const double NanosecondsPerMillisecond = 1e6;
    private static readonly double NanosecondsPerTick = 1e9 / Stopwatch.Frequency;
    private static readonly long LongestNanoseconds = (long)TimeSpan.FromMinutes(1).TotalNanoseconds;
    private readonly LongHistogram[] _latencies;

    private Round(int contenders) =>
        _latencies = [.. Enumerable.Range(0, contenders).Select(_ => new LongHistogram(LongestNanoseconds, 3))];

    public static async Task<Round> RunAsync(IReadOnlyList<Contender> contenders, int operations, CancellationToken cancellationToken)
    {
        var round = new Round(contenders.Count);
        int[] turns = [.. Enumerable.Range(0, contenders.Count)];
        for (var operation = 0; operation < operations; operation++)
        {
            // Nobody always follows the same one and finds the caches as that left them.
            Random.Shared.Shuffle(turns);
            foreach (var i in turns)
            {
                cancellationToken.ThrowIfCancellationRequested();
                await contenders[i].Prepare();
                var started = Stopwatch.GetTimestamp();
                await contenders[i].Operation();
                // TimeSpan has steps of 100 ns, of which some operations do not take one.
                var ticks = Stopwatch.GetTimestamp() - started;
                round._latencies[i].RecordValue(Math.Clamp((long)(ticks * NanosecondsPerTick), 1, LongestNanoseconds));
                await contenders[i].Conclude();
            }
        }

        return round;
    }

    public double Milliseconds(int contender, double percentile) =>
        _latencies[contender].GetValueAtPercentile(percentile) / NanosecondsPerMillisecond;
}
