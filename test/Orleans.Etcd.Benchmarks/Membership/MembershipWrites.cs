using Etcdserverpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Heartbeat, insert and update, each against the same request and against the same write of Orleans' other providers.
/// Tokens are looked up between the writes, for all alike, and are not timed.
/// </summary>
internal sealed class MembershipWrites(Contest contest, BareEtcd bare, EtcdConnection etcd, PeerStores stores)
{
    private const double Limit = 1.15;
    private const int Rows = 10;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await OnNewTablesAsync("heartbeats-alone", (table, _, theirs, peers) => HeartbeatAsync(table, theirs, peers, cancellationToken), cancellationToken);
        await OnNewTablesAsync(
            "inserts",
            (table, ours, theirs, peers) => WriteAsync("insert", Ours("InsertRow", table, ours, NewSilo()), Plain(theirs, NewSilo()), [.. peers.Select(peer => Peer(peer, NewSilo(), peer.InsertAsync))], cancellationToken),
            cancellationToken);
        await OnNewTablesAsync(
            "updates",
            (table, ours, theirs, peers) => WriteAsync("update", Ours("UpdateRow", table, ours, KnownSilo()), Plain(theirs, KnownSilo()), [.. peers.Select(peer => Peer(peer, KnownSilo(), peer.UpdateAsync))], cancellationToken),
            cancellationToken);
        await new MembershipWritesAtOnce(contest, bare, etcd, stores).RunAsync(cancellationToken);
    }

    private async Task OnNewTablesAsync(string clusterId, Func<EtcdMembershipTable, EtcdTable, EtcdTable, PeerTable[], Task> write, CancellationToken cancellationToken)
    {
        var ours = new EtcdTable(bare, etcd, $"{clusterId}-ours");
        var theirs = new EtcdTable(bare, etcd, $"{clusterId}-bare");
        await ours.FillAsync(Rows, cancellationToken);
        await theirs.FillAsync(Rows, cancellationToken);
        await using var table = await ours.OpenWatchedAsync(cancellationToken);
        var peers = await stores.OpenAsync(clusterId, cancellationToken);
        try
        {
            foreach (var peer in peers)
                await peer.FillAsync(Rows, cancellationToken);
            await write(table, ours, theirs, peers);
        }
        finally
        {
            foreach (var peer in peers)
                await peer.DisposeAsync();
        }
    }

    private static Func<MembershipEntry> NewSilo()
    {
        var next = Rows;
        return () => Silos.Entry(next++);
    }

    private static Func<MembershipEntry> KnownSilo()
    {
        var next = 0;
        return () => Silos.Entry(next % Rows, writes: 1 + next++);
    }

    private async Task HeartbeatAsync(EtcdMembershipTable table, EtcdTable theirs, PeerTable[] peers, CancellationToken cancellationToken)
    {
        var entry = Silos.Entry(0);
        var put = new PutRequest { Key = theirs.Layout.AliveKey(entry.SiloAddress), Value = MembershipCodec.Encode(entry.IAmAliveTime) };
        await WriteAsync(
            "heartbeat",
            new Contender("UpdateIAmAlive", () => table.UpdateIAmAliveAsync(entry, CancellationToken.None)),
            new Contender("bare put", async () => await bare.KV.PutAsync(put)),
            [.. peers.Select(peer => new Contender(peer.Name, () => peer.Table.UpdateIAmAliveAsync(entry, CancellationToken.None)))],
            cancellationToken);
    }

    private async Task WriteAsync(string @case, Contender ours, Contender plain, Contender[] peers, CancellationToken cancellationToken)
    {
        var figures = await contest.CompareAsync(@case, 200, ours, [plain, .. peers], cancellationToken);
        contest.Report.RatioGoal($"{@case} against a {plain.Name}", figures[0], Limit);
    }

    private static Contender Ours(string name, EtcdMembershipTable table, EtcdTable rows, Func<MembershipEntry> next)
    {
        MembershipEntry entry = null!;
        EtcdTable.Tokens tokens = null!;
        return new Contender(name, async () => Require.That(
            tokens.Row == 0
                ? await table.InsertRowAsync(entry, tokens.Next, CancellationToken.None)
                : await table.UpdateRowAsync(entry, MembershipImage.ETag(tokens.Row), tokens.Next, CancellationToken.None),
            name))
        {
            Prepare = async () =>
            {
                entry = next();
                tokens = await rows.TokensAsync(entry.SiloAddress, CancellationToken.None);
            },
        };
    }

    private Contender Plain(EtcdTable rows, Func<MembershipEntry> next)
    {
        TxnRequest request = null!;
        return new Contender("bare transaction", async () => Require.That((await bare.KV.TxnAsync(request)).Succeeded, "transaction"))
        {
            Prepare = async () =>
            {
                var entry = next();
                request = rows.WriteRequest(entry, await rows.TokensAsync(entry.SiloAddress, CancellationToken.None));
            },
        };
    }

    private static Contender Peer(PeerTable peer, Func<MembershipEntry> next, Func<MembershipEntry, (TableVersion, string?), Task<bool>> write)
    {
        MembershipEntry entry = null!;
        (TableVersion, string?) tokens = default;
        return new Contender(peer.Name, async () => Require.That(await write(entry, tokens), $"write to {peer.Name}"))
        {
            Prepare = async () =>
            {
                entry = next();
                tokens = await peer.TokensAsync(entry, CancellationToken.None);
            },
        };
    }
}
