namespace Orleans.Etcd.Benchmarks;

/// <summary>How many requests to etcd an uncontended lock costs, as etcd itself counts them on /metrics.</summary>
internal sealed class LockRequests(Contest contest, BareEtcd bare, LockHost host)
{
    private const int Times = 20;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        foreach (var peer in new[] { host.Silo, host.Client })
            await CountAsync(peer, cancellationToken);
    }

    private async Task CountAsync(LockPeer peer, CancellationToken cancellationToken)
    {
        var acquire = await peer.OpenAsync();
        List<IReadOnlyList<(string Method, double Count)>> acquired = [], released = [];
        for (var time = 0; time < Times; time++)
        {
            IAsyncDisposable held = null!;
            acquired.Add(await bare.CountRequestsOfAsync(async () => held = await acquire("counted"), cancellationToken));
            released.Add(await bare.CountRequestsOfAsync(async () => await held.DisposeAsync(), cancellationToken));
        }

        Show("acquire", peer, acquired);
        Show("release", peer, released);
    }

    private void Show(string what, LockPeer peer, List<IReadOnlyList<(string Method, double Count)>> found)
    {
        var figure = contest.Add("requests", what, peer.Name, null, [.. found.Select(requests => requests.Sum(one => one.Count))], []);
        // Some other request of the silo, such as its look at the table once a minute, may fall into one of them.
        var transactions = found.Select(requests => requests.Where(one => one.Method == "Txn").Sum(one => one.Count)).ToArray();
        var met = figure.OursMedian == 1 && transactions.Min() == 1 && transactions.Count(count => count > 1) <= 1;
        var kinds = found.Select(requests => string.Join(" + ", requests.Select(one => $"{one.Count} {one.Method}").Order())).GroupBy(kind => kind).Select(kind => $"{kind.Key} ({kind.Count()} times)");
        contest.Report.CountGoal($"requests of an uncontended {what}, {peer.Name}: 1 Txn", met, string.Join("; ", kinds));
    }
}
