using System.Diagnostics;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Many that do something over and over at the same time, for so long; how often each of them did it.</summary>
internal sealed record Race(TimeSpan Time, long[] Counts)
{
    private static readonly TimeSpan WarmUp = TimeSpan.FromSeconds(0.5);
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Short = TimeSpan.FromSeconds(0.2);

    public double PerSecond => Counts.Sum() / Time.TotalSeconds;

    public static Task<Race> RunAsync(IEnumerable<Func<Task>> runners, Settings settings, CancellationToken cancellationToken) =>
        RunAsync(runners, new Window(settings), cancellationToken);

    /// <summary>What ends before the warm-up has, or after the time, does not count. Who never ends is an error.</summary>
    public static async Task<Race> RunAsync(IEnumerable<Func<Task>> runners, Window window, CancellationToken cancellationToken)
    {
        var counts = await Task.WhenAll(runners.Select(run => Task.Run(() => RepeatAsync(run, window, cancellationToken), cancellationToken))).WaitAsync(Limit, cancellationToken);
        return new Race(window.Time, counts);
    }

    /// <summary>
    /// One race a round for each, one after another in random order, after a round that does not count; the race is told
    /// its round, the first that counts being 1. Answers what came of them, round by round.
    /// </summary>
    public static async Task<Dictionary<TRacer, List<TResult>>> RoundsAsync<TRacer, TResult>(IReadOnlyList<TRacer> racers, Settings settings, Func<TRacer, int, Task<TResult>> race)
        where TRacer : notnull
    {
        var results = racers.ToDictionary(racer => racer, _ => new List<TResult>());
        TRacer[] turns = [.. racers];
        for (var round = settings.Quick ? 1 : 0; round <= settings.Rounds; round++)
        {
            Random.Shared.Shuffle(turns);
            foreach (var racer in turns)
            {
                var result = await race(racer, round);
                if (round > 0)
                    results[racer].Add(result);
            }
        }

        return results;
    }

    private static async Task<long> RepeatAsync(Func<Task> run, Window window, CancellationToken cancellationToken)
    {
        for (var count = 0L; ;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            await run();
            if (window.IsOver)
                return count;
            if (window.IsOpen)
                count++;
        }
    }

    /// <summary>The time that counts, which begins a warm-up after this is made.</summary>
    public sealed class Window(Settings settings)
    {
        private readonly TimeSpan _warmUp = settings.Quick ? WarmUp / 4 : WarmUp;
        private readonly Stopwatch _clock = Stopwatch.StartNew();

        public TimeSpan Time { get; } = settings.Quick ? Short : Long;

        public bool IsOpen => _clock.Elapsed > _warmUp && !IsOver;

        public bool IsOver => _clock.Elapsed > _warmUp + Time;
    }
}
