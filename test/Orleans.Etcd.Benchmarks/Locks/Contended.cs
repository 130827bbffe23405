using System.Diagnostics;
using System.Globalization;
using HdrHistogram;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Many that want one lock all the time: how often it is had, how often and how fast it changes hands, and whether all get
/// their share. Beside them deletes of single keys, one after another, of which a hand-over needs one at least.
/// </summary>
internal sealed class Contended(Contest contest, BareEtcd bare, LockHost host, LockHost cluster, LockPeers peers)
{
    private const int Most = 64;
    private const int OfGoals = 16;
    private const double TimesGo = 5;
    private const double OfDeletes = 0.8;
    private const double Deviation = 0.1;
    private static readonly long LongestMicroseconds = (long)TimeSpan.FromMinutes(1).TotalMicroseconds;

    /// <summary>What the lock is called in the first round that counts, after which it has been had often.</summary>
    public static string UsedName(LockPeer peer) => Name(peer, OfGoals, round: 1);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        foreach (var contenders in new[] { 2, OfGoals, Most })
            await RunAsync(contenders, cancellationToken);
    }

    private async Task RunAsync(int contenders, CancellationToken cancellationToken)
    {
        var @case = $"contended-{contenders}";
        LockPeer[] ours = [host.Silo, host.Client, cluster.Spread];
        var deletes = new BareDeletes(bare);
        object[] racers = [.. ours, .. peers.All.Where(peer => peer.MostWaiting >= contenders), deletes];
        var results = await Race.RoundsAsync(racers, contest.Settings, (racer, round) => racer is LockPeer peer
            ? RaceAsync(peer, contenders, Name(peer, contenders, round), cancellationToken)
            : Outcome.OfAsync(deletes, contest.Settings, cancellationToken));
        var locks = results.Keys.OfType<LockPeer>().ToArray();
        foreach (var our in ours)
        {
            foreach (var other in racers.Except(ours))
                Compare(@case, our, results[our], other, results[other], contenders == OfGoals);
        }

        foreach (var peer in locks)
        {
            contest.Add(@case, "fewest_cycles", peer.Name, null, [.. results[peer].Select(one => one.Fewest)], []);
            contest.Add(@case, "most_cycles", peer.Name, null, [.. results[peer].Select(one => one.Most)], []);
        }

        foreach (var our in ours)
        {
            var (least, most) = (results[our].Min(one => one.Fewest / one.Mean), results[our].Max(one => one.Most / one.Mean));
            var found = string.Create(CultureInfo.InvariantCulture, $"{least:0.###}-{most:0.###} of the mean");
            contest.Report.Goal($"{@case}, {our.Name}: each within {Deviation:P0} of the mean", least >= 1 - Deviation && most <= 1 + Deviation, found);
        }
    }

    private void Compare(string @case, LockPeer our, List<Outcome> ours, object other, List<Outcome> theirs, bool goals)
    {
        if (other is not LockPeer peer)
        {
            var figure = contest.Add(@case, "hand_overs_per_s", our.Name, BareDeletes.Name, [.. ours.Select(one => one.HandOvers)], [.. theirs.Select(one => one.Cycles)]);
            if (goals)
                contest.Report.AtLeastGoal($"{@case}, {our.Name}: hand-overs against {BareDeletes.Name}", figure, OfDeletes);
            return;
        }

        contest.Add(@case, "cycles_per_s", our.Name, peer.Name, [.. ours.Select(one => one.Cycles)], [.. theirs.Select(one => one.Cycles)]);
        var handOvers = contest.Add(@case, "hand_overs_per_s", our.Name, peer.Name, [.. ours.Select(one => one.HandOvers)], [.. theirs.Select(one => one.HandOvers)]);
        contest.Add(@case, "hand_over_p50_ms", our.Name, peer.Name, [.. ours.Select(one => one.P50)], [.. theirs.Select(one => one.P50)]);
        contest.Add(@case, "hand_over_p99_ms", our.Name, peer.Name, [.. ours.Select(one => one.P99)], [.. theirs.Select(one => one.P99)]);
        if (goals && peer == peers.Go)
            contest.Report.AtLeastGoal($"{@case}, {our.Name}: hand-overs against {peer.Name}", handOvers, TimesGo);
    }

    private static string Name(LockPeer peer, int contenders, int round) => $"contended-{contenders}-{round}-{peer.Name}";

    private async Task<Outcome> RaceAsync(LockPeer peer, int count, string name, CancellationToken cancellationToken)
    {
        var (holders, last, cycles, handOvers, released, token) = (0, -1, 0L, 0L, 0L, 0L);
        var latencies = new LongHistogram(LongestMicroseconds, 3);
        var contenders = await Task.WhenAll(Enumerable.Range(0, count).Select(_ => peer.OpenAsync()));
        var window = new Race.Window(contest.Settings);
        var race = await Race.RunAsync(contenders.Select(Contend), window, cancellationToken);
        return new Outcome(race.PerSecond, handOvers / (double)Math.Max(cycles, 1))
        {
            P50 = Milliseconds(50),
            P99 = Milliseconds(99),
            Fewest = race.Counts.Min(),
            Mean = race.Counts.Average(),
            Most = race.Counts.Max(),
        };

        Func<Task> Contend(Acquire acquire, int number) => async () =>
        {
            await using var held = await acquire(name);
            if (Interlocked.Increment(ref holders) != 1)
                throw new InvalidOperationException($"Two held one lock of {peer.Name}.");
            // Who comes after the last one has been given it after that: what holds for ours where two were too short to meet.
            if (held is ILockHandle { FencingToken: var next })
                token = next > token ? next : throw new InvalidOperationException($"A lock of {peer.Name} was had with token {next} after {token}.");
            // Nobody else writes here, or the lock is none.
            if (window.IsOpen)
                Count(number);
            last = number;
            Interlocked.Decrement(ref holders);
            released = Stopwatch.GetTimestamp();
        };

        // Where it never changed hands, longer than all the time that there was.
        double Milliseconds(double percentile) => latencies.TotalCount == 0 ? window.Time.TotalMilliseconds : latencies.GetValueAtPercentile(percentile) / 1000.0;

        void Count(int number)
        {
            cycles++;
            if (last < 0 || last == number)
                return;
            handOvers++;
            latencies.RecordValue(Math.Min((long)Stopwatch.GetElapsedTime(released).TotalMicroseconds, LongestMicroseconds));
        }
    }

    /// <summary>Of one race: its cycles a second, and what part of them followed one of another contender.</summary>
    private sealed record Outcome(double Cycles, double HandedOver)
    {
        public double HandOvers => Cycles * HandedOver;

        /// <summary>Milliseconds from the moment at which one begins to release until another has it.</summary>
        public double P50 { get; init; }

        public double P99 { get; init; }

        /// <summary>How often the unluckiest had it.</summary>
        public double Fewest { get; init; }

        public double Mean { get; init; }

        public double Most { get; init; }

        public static async Task<Outcome> OfAsync(BareDeletes deletes, Settings settings, CancellationToken cancellationToken) =>
            new(await deletes.PerSecondAsync(settings, cancellationToken), 1);
    }
}
