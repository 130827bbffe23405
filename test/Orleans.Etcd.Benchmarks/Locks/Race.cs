using System.Diagnostics;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Many that do something over and over at the same time, for so long; how often each of them did it.</summary>
internal sealed record Race(TimeSpan Time, long[] Counts)
{
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(1);

    public double PerSecond => Counts.Sum() / Time.TotalSeconds;

    /// <summary>What ends before the warm-up has, or after the time, does not count.</summary>
    public static async Task<Race> RunAsync(IEnumerable<Func<Task>> runners, Settings settings, CancellationToken cancellationToken)
    {
        var (warmUp, time) = settings.Quick ? (WarmUp / 4, TimeSpan.FromSeconds(0.75)) : (WarmUp, TimeSpan.FromSeconds(4));
        var clock = Stopwatch.StartNew();
        var counts = await Task.WhenAll(runners.Select(run => Task.Run(() => RepeatAsync(run, clock, warmUp, warmUp + time, cancellationToken), cancellationToken)));
        return new Race(time, counts);
    }

    /// <summary>
    /// One race a round for each, one after another in random order, after a round that does not count; the race is told
    /// its round, the first that counts being 1. Answers what came of them, round by round.
    /// </summary>
    public static async Task<Dictionary<LockPeer, List<T>>> RoundsAsync<T>(IReadOnlyList<LockPeer> peers, Settings settings, Func<LockPeer, int, Task<T>> race)
    {
        var results = peers.ToDictionary(peer => peer, _ => new List<T>());
        LockPeer[] turns = [.. peers];
        for (var round = settings.Quick ? 1 : 0; round <= settings.Rounds; round++)
        {
            Random.Shared.Shuffle(turns);
            foreach (var peer in turns)
            {
                var result = await race(peer, round);
                if (round > 0)
                    results[peer].Add(result);
            }
        }

        return results;
    }

    private static async Task<long> RepeatAsync(Func<Task> run, Stopwatch clock, TimeSpan from, TimeSpan to, CancellationToken cancellationToken)
    {
        for (var count = 0L; ;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await run();
            var now = clock.Elapsed;
            if (now > to)
                return count;
            if (now > from)
                count++;
        }
    }
}
