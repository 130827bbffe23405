using Etcdserverpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>ReadAll of tables that have not changed, and of those whose every row has, from 10 rows to 3,000.</summary>
internal sealed class MembershipReads(Contest contest, BareEtcd bare, EtcdConnection etcd, PeerStores stores)
{
    private static readonly TimeSpan ChangeEvery = TimeSpan.FromMilliseconds(100);
    private const double Limit = 1.15;

    private int[] Sizes => contest.Settings.Quick ? [GoalRows] : [10, 100, 1000, 3000];

    /// <summary>The size that the goals are of.</summary>
    private int GoalRows => contest.Settings.Quick ? 100 : 1000;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var peers = await stores.OpenAsync("reads", cancellationToken);
        try
        {
            foreach (var rows in Sizes)
            {
                foreach (var peer in peers)
                    await peer.FillAsync(rows, cancellationToken);
                Contender[] others = [.. peers.Select(peer => peer.ReadAll(rows))];
                await UnchangedAsync(rows, others, cancellationToken);
                await RestingAsync(rows, others, cancellationToken);
                Contender[] rewritten = [.. peers.Select(peer => peer.ReadAll(rows) with { Prepare = peer.RewriteAsync })];
                await ChangedAsync(rows, watched: false, rewritten, cancellationToken);
                await ChangedAsync(rows, watched: true, rewritten, cancellationToken);
                if (rows == GoalRows)
                    await ChangedAsync(rows, watched: true, rewritten, cancellationToken, heartbeatsAnew: true);
            }
        }
        finally
        {
            foreach (var peer in peers)
                await peer.DisposeAsync();
        }
    }

    private static int Operations(int rows) => rows < 1000 ? 200 : 100;

    private async Task UnchangedAsync(int rows, Contender[] peers, CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, $"reads-{rows}");
        await cluster.FillAsync(rows, cancellationToken);
        await using var table = await cluster.OpenWatchedAsync(cancellationToken);
        var oneKey = new RangeRequest { Key = cluster.Layout.VersionKey };
        var ours = ReadAll(table, cluster);
        var bareRange = new Contender("bare one-key range", async () => await bare.KV.RangeAsync(oneKey));
        var @case = $"ReadAll {rows}, unchanged";
        var figures = await contest.CompareAsync(@case, Operations(rows), ours, [bareRange, .. peers], cancellationToken);
        contest.Report.RatioGoal($"{@case}, against a one-key range", figures[0], 2);
        if (rows != GoalRows)
            return;
        FasterThanPeers(@case, figures.Skip(1));
        await contest.RatesAsync(
            $"{@case}, {Crowd.Usual} in flight", Crowd.Of(ours), [.. new[] { bareRange }.Concat(peers).Select(Crowd.Of)], cancellationToken);
    }

    private void FasterThanPeers(string @case, IEnumerable<Figure> figures)
    {
        foreach (var figure in figures)
            contest.Report.RatioGoal($"{@case}, against {figure.Against}", figure, 1);
    }

    /// <summary>
    /// As a silo at rest reads once a minute: nothing has changed but heartbeats, and those it has are too old.
    /// The others read all of it every time.
    /// </summary>
    private async Task RestingAsync(int rows, Contender[] peers, CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, $"resting-{rows}");
        await cluster.FillAsync(rows, cancellationToken);
        await using var table = await cluster.OpenWatchedAsync(cancellationToken, heartbeatAge: TimeSpan.Zero);
        var heartbeats = new Contender("bare range of the heartbeats", async () => await bare.KV.RangeAsync(cluster.Layout.AliveRange));
        var all = new Contender("bare range of rows and heartbeats", async () => await bare.KV.TxnAsync(cluster.ReadAllRequest));
        var @case = $"ReadAll {rows}, unchanged, heartbeats anew";
        var figures = await contest.CompareAsync(@case, Operations(rows), ReadAll(table, cluster), [heartbeats, all, .. peers], cancellationToken);
        if (rows == GoalRows)
            FasterThanPeers(@case, figures.Skip(2));
    }

    /// <summary>
    /// Every row and the version are rewritten before each read, whoever reads: each store has just written what is read.
    /// Without a watch each row has to come from etcd with the read itself; with one, as in a silo, the watch may have
    /// brought it before. The heartbeats come with each read, or are young enough.
    /// </summary>
    private async Task ChangedAsync(int rows, bool watched, Contender[] peers, CancellationToken cancellationToken, bool heartbeatsAnew = false)
    {
        var @case = $"ReadAll {rows}, all changed{(watched ? ", watched" : "")}{(heartbeatsAnew ? ", heartbeats anew" : "")}";
        var id = $"changed-{rows}{(watched ? "-watched" : "")}{(heartbeatsAnew ? "-anew" : "")}";
        var ours = new EtcdTable(bare, etcd, $"{id}-ours");
        // One that nobody watches: what our watch takes in would weigh on the two cores while the bare range is timed.
        var theirs = new EtcdTable(bare, etcd, $"{id}-bare");
        await ours.FillAsync(rows, cancellationToken);
        await theirs.FillAsync(rows, cancellationToken);
        await using var table = watched ? await ours.OpenWatchedAsync(cancellationToken, heartbeatsAnew ? TimeSpan.Zero : null) : ours.Open();
        Task Rewrite() => theirs.RewriteAsync(cancellationToken);
        var reader = ReadAll(table, ours) with { Prepare = () => ours.RewriteAsync(cancellationToken) };
        Contender[] others =
        [
            new("bare range of the rows", async () => await bare.KV.RangeAsync(theirs.Layout.Range)) { Prepare = Rewrite },
            new("bare range of rows and heartbeats", async () => await bare.KV.TxnAsync(theirs.ReadAllRequest)) { Prepare = Rewrite },
            .. peers,
        ];
        var figures = await contest.CompareAsync(@case, Operations(rows) / 4, reader, others, cancellationToken);
        if (rows != GoalRows)
            return;
        contest.Report.RatioGoal($"{@case}, against a {figures[0].Against}", figures[0], Limit);
        if (heartbeatsAnew)
            return;
        // Each as fast as it writes: what is slow to write is changed less often.
        await contest.RatesAsync(
            $"{@case} again {ChangeEvery.TotalMilliseconds} ms after they were, {Crowd.Usual} in flight", Changing(reader), [.. others.Select(Changing)], cancellationToken);
    }

    /// <summary>Many that read while every row changes again and again.</summary>
    private static Crowd Changing(Contender reader) => Crowd.Of(reader) with
    {
        MeanwhileAsync = async over =>
        {
            while (!over.IsCancellationRequested)
            {
                await reader.Prepare();
                await Task.Delay(ChangeEvery, over).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        },
    };

    private static Contender ReadAll(EtcdMembershipTable table, EtcdTable rows)
    {
        MembershipTableData read = null!;
        return new Contender("ReadAll", async () => read = await table.ReadAllAsync(CancellationToken.None))
        {
            Conclude = () =>
            {
                rows.RequireLast(read);
                return Task.CompletedTask;
            },
        };
    }
}
