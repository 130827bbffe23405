using Etcdserverpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>ReadAll of tables that have not changed, and of one whose every row has.</summary>
internal sealed class MembershipReads(Contest contest, BareEtcd bare, EtcdConnection etcd, string data)
{
    private const int ManyRows = 1000;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await UnchangedAsync(10, [], cancellationToken);
        await UnchangedAsync(100, [], cancellationToken);
        if (RedisTable.Binary is null)
        {
            contest.Report.Note("Without Redis: there is no redis-server on this machine.");
            await ManyAsync([], cancellationToken);
            return;
        }

        await using var memory = await RedisTable.OpenAsync("Redis", data, appendOnly: false, ManyRows, cancellationToken);
        await using var synced = await RedisTable.OpenAsync("Redis, AOF fsync always", data, appendOnly: true, ManyRows, cancellationToken);
        await ManyAsync([memory, synced], cancellationToken);
    }

    private async Task ManyAsync(RedisTable[] peers, CancellationToken cancellationToken)
    {
        Contender[] others = [.. peers.Select(peer => peer.ReadAll(ManyRows))];
        await UnchangedAsync(ManyRows, others, cancellationToken);
        Contender[] rewritten = [.. peers.Select(peer => peer.ReadAll(ManyRows) with { Prepare = peer.RewriteAsync })];
        await ChangedAsync("ReadAll 1000, all changed", watched: false, rewritten, cancellationToken);
        await ChangedAsync("ReadAll 1000, all changed, watched", watched: true, rewritten, cancellationToken);
    }

    private async Task UnchangedAsync(int rows, Contender[] peers, CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, $"reads-{rows}");
        await cluster.FillAsync(rows, cancellationToken);
        await using var table = cluster.Open();
        await table.InitializeMembershipTableAsync(true, cancellationToken);
        var oneKey = new RangeRequest { Key = cluster.Layout.VersionKey };
        var figures = await contest.CompareAsync(
            $"ReadAll {rows}, unchanged",
            peers.Length == 0 ? 200 : 60,
            ReadAll(table, rows),
            [new Contender("bare one-key range", async () => await bare.KV.RangeAsync(oneKey)), .. peers],
            cancellationToken);
        contest.Report.RatioGoal($"ReadAll of {rows} rows, unchanged, against a one-key range", figures[0], 2);
    }

    /// <summary>
    /// Every row and the version are rewritten before each read, whoever reads: each store has just written what is read.
    /// Without a watch each row has to come from etcd with the
    /// read itself; with one, as in a silo, the watch may have brought it before.
    /// </summary>
    private async Task ChangedAsync(string @case, bool watched, Contender[] peers, CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, watched ? "changed-watched" : "changed");
        await cluster.FillAsync(ManyRows, cancellationToken);
        await using var table = cluster.Open();
        if (watched)
            await table.InitializeMembershipTableAsync(true, cancellationToken);
        var same = cluster.ReadAllRequest;
        Task Rewrite() => cluster.RewriteAsync(cancellationToken);
        var figures = await contest.CompareAsync(
            @case,
            20,
            ReadAll(table, ManyRows) with { Prepare = Rewrite },
            [new Contender("bare range of the rows", async () => await bare.KV.TxnAsync(same)) { Prepare = Rewrite }, .. peers],
            cancellationToken);
        if (watched)
            return;
        foreach (var figure in figures.Skip(1))
            contest.Report.RatioGoal($"{@case}, against {figure.Against}", figure, 1);
    }

    private static Contender ReadAll(EtcdMembershipTable table, int rows) => new("ReadAll", async () =>
    {
        if ((await table.ReadAllAsync(CancellationToken.None)).Members.Count != rows)
            throw new InvalidOperationException($"ReadAll did not answer all {rows} rows.");
    });
}
