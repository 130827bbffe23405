namespace Orleans.Etcd.Benchmarks;

/// <summary>Many different locks at once, over and over, against the two writes that each of them costs, sent bare.</summary>
internal sealed class ManyLocks(Contest contest, BareEtcd bare, LockHost host, LockPeers peers)
{
    private const int InFlight = 1000;
    private const double Limit = 0.8;
    private static readonly string Case = $"parallel-{InFlight}";

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var writes = new BareWrites(bare);
        LockPeer[] ours = [host.Silo, host.Client];
        var (both, puts) = (writes.PutAndDelete, writes.Put);
        LockPeer[] others = [both, writes.Transactions, .. peers.All];
        var results = await Race.RoundsAsync([.. ours, .. others, puts], contest.Settings, (peer, _) => RaceAsync(peer, cancellationToken));
        foreach (var our in ours)
        {
            foreach (var other in others)
            {
                var figure = contest.Add(Case, "cycles_per_s", our.Name, other.Name, results[our], results[other]);
                if (other == both)
                    contest.Report.AtLeastGoal($"{Case}, {our.Name}: cycles against {other.Name}", figure, Limit);
            }

            contest.Add(Case, "writes_per_s", our.Name, puts.Name, [.. results[our].Select(cycles => 2 * cycles)], results[puts]);
        }
    }

    private async Task<double> RaceAsync(LockPeer peer, CancellationToken cancellationToken)
    {
        var acquire = await peer.OpenAsync();
        Func<Task>[] cycles = [.. Enumerable.Range(0, InFlight).Select(number => Cycle($"parallel-{number}"))];
        // Activates the grains.
        await Task.WhenAll(cycles.Select(cycle => cycle()));
        return (await Race.RunAsync(cycles, contest.Settings, cancellationToken)).PerSecond;

        Func<Task> Cycle(string name) => async () => await (await acquire(name)).DisposeAsync();
    }
}
