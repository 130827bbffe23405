using System.Globalization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Many that want one lock all the time: how often it is had, how often it changes hands, and whether all get their share.</summary>
internal sealed class Contended(Contest contest, LockHost host, LockPeers peers)
{
    private const int Contenders = 16;
    private const double TimesGo = 5;
    private const double Deviation = 0.1;
    private static readonly string Case = $"contended-{Contenders}";

    /// <summary>What the lock is called in the first round that counts, after which it has been had often.</summary>
    public static string UsedName(LockPeer peer) => Name(peer, round: 1);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        LockPeer[] ours = [host.Silo, host.Client];
        var results = await Race.RoundsAsync([.. ours, .. peers.All], contest.Settings, (peer, round) => RaceAsync(peer, Name(peer, round), cancellationToken));
        foreach (var our in ours)
        {
            foreach (var peer in peers.All)
            {
                contest.Add(Case, "cycles_per_s", our.Name, peer.Name, [.. results[our].Select(one => one.Cycles)], [.. results[peer].Select(one => one.Cycles)]);
                var figure = contest.Add(Case, "hand_overs_per_s", our.Name, peer.Name, [.. results[our].Select(one => one.HandOvers)], [.. results[peer].Select(one => one.HandOvers)]);
                if (peer == peers.Go)
                    contest.Report.AtLeastGoal($"{Case}, {our.Name}: hand-overs against {peer.Name}", figure, TimesGo);
            }
        }

        foreach (var (peer, rounds) in results)
        {
            contest.Add(Case, "least_of_mean", peer.Name, null, [.. rounds.Select(one => one.Least)], []);
            contest.Add(Case, "most_of_mean", peer.Name, null, [.. rounds.Select(one => one.Most)], []);
        }

        foreach (var our in ours)
        {
            var (least, most) = (results[our].Min(one => one.Least), results[our].Max(one => one.Most));
            var found = string.Create(CultureInfo.InvariantCulture, $"{least:0.###}-{most:0.###} of the mean");
            contest.Report.Goal($"{Case}, {our.Name}: each within {Deviation:P0} of the mean", least >= 1 - Deviation && most <= 1 + Deviation, found);
        }
    }

    private static string Name(LockPeer peer, int round) => $"contended-{round}-{peer.Name}";

    private async Task<Outcome> RaceAsync(LockPeer peer, string name, CancellationToken cancellationToken)
    {
        var (holders, last, cycles, handOvers) = (0, -1, 0L, 0L);
        var contenders = await Task.WhenAll(Enumerable.Range(0, Contenders).Select(_ => peer.OpenAsync()));
        var race = await Race.RunAsync(contenders.Select(Contend), contest.Settings, cancellationToken);
        return new Outcome(race, handOvers / (double)cycles);

        Func<Task> Contend(Acquire acquire, int number) => async () =>
        {
            await using var held = await acquire(name);
            if (Interlocked.Increment(ref holders) != 1)
                throw new InvalidOperationException($"Two held one lock of {peer.Name}.");
            // Nobody else writes here, or the lock is none.
            (cycles, handOvers, last) = (cycles + 1, handOvers + (last == number ? 0 : 1), number);
            Interlocked.Decrement(ref holders);
        };
    }

    /// <summary>Of one race: how many of its cycles followed one of another contender, and the shares of the luckiest and the unluckiest.</summary>
    private sealed record Outcome(Race Race, double HandedOver)
    {
        public double Cycles => Race.PerSecond;

        public double HandOvers => Race.PerSecond * HandedOver;

        public double Least => Race.Counts.Min() / Race.Counts.Average();

        public double Most => Race.Counts.Max() / Race.Counts.Average();
    }
}
