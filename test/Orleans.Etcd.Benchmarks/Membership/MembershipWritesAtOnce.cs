using Etcdserverpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Many writes in flight. Heartbeats of one cluster do not meet each other; inserts and updates do, by the version of the
/// table, so each of those has a cluster of its own, of which it looks up the tokens first.
/// </summary>
internal sealed class MembershipWritesAtOnce(Contest contest, BareEtcd bare, EtcdConnection etcd, PeerStores stores)
{
    private const int Heartbeats = 64;
    private const int Clusters = 16;

    private readonly List<IAsyncDisposable> _open = [];

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        try
        {
            await HeartbeatsAsync(cancellationToken);
            await ClustersAsync(cancellationToken);
        }
        finally
        {
            foreach (var each in _open)
                await each.DisposeAsync();
        }
    }

    private async Task HeartbeatsAsync(CancellationToken cancellationToken)
    {
        var ours = new EtcdTable(bare, etcd, "heartbeats-ours");
        var theirs = new EtcdTable(bare, etcd, "heartbeats-bare");
        await ours.FillAsync(Heartbeats, cancellationToken);
        await theirs.FillAsync(Heartbeats, cancellationToken);
        var table = Keep(await ours.OpenWatchedAsync(cancellationToken));
        var peers = await stores.OpenAsync("heartbeats", cancellationToken);
        _open.AddRange(peers);
        foreach (var peer in peers)
            await peer.FillAsync(Heartbeats, cancellationToken);

        await contest.RatesAsync(
            $"heartbeats, {Heartbeats} in flight",
            Crowd("UpdateIAmAlive", entry => () => table.UpdateIAmAliveAsync(entry, CancellationToken.None)),
            [Crowd("bare put", Put), .. peers.Select(peer => Crowd(peer.Name, entry => () => peer.Table.UpdateIAmAliveAsync(entry, CancellationToken.None)))],
            cancellationToken);

        Func<Task> Put(MembershipEntry entry)
        {
            var put = new PutRequest { Key = theirs.Layout.AliveKey(entry.SiloAddress), Value = MembershipCodec.Encode(entry.IAmAliveTime) };
            return async () => await bare.KV.PutAsync(put);
        }
    }

    private static Crowd Crowd(string name, Func<MembershipEntry, Func<Task>> write) =>
        new(name, [.. Enumerable.Range(0, Heartbeats).Select(number => write(Silos.Entry(number)))]);

    private async Task ClustersAsync(CancellationToken cancellationToken)
    {
        List<Writer> ours = [], plain = [];
        var peers = stores.All.ToDictionary(store => store.Name, _ => new List<Writer>());
        for (var number = 0; number < Clusters; number++)
        {
            ours.Add(await OursAsync($"at-once-{number}", cancellationToken));
            plain.Add(await PlainAsync($"at-once-bare-{number}", cancellationToken));
            foreach (var peer in await stores.OpenAsync($"at-once-{number}-", cancellationToken))
                peers[peer.Name].Add(await PeerAsync(Keep(peer), cancellationToken));
        }

        // Updates first: whoever is faster makes a larger table by its inserts.
        foreach (var (@case, which) in new (string, Func<Writer, Func<Task>>)[] { ("update", writer => writer.Update), ("insert", writer => writer.Insert) })
        {
            await contest.RatesAsync(
                $"read and {@case}, {Clusters} clusters",
                new Crowd("library", [.. ours.Select(which)]),
                [new Crowd("bare transactions", [.. plain.Select(which)]), .. peers.Select(pair => new Crowd(pair.Key, [.. pair.Value.Select(which)]))],
                cancellationToken);
        }
    }

    private async Task<Writer> OursAsync(string clusterId, CancellationToken cancellationToken)
    {
        var rows = new EtcdTable(bare, etcd, clusterId);
        await rows.FillAsync(1, cancellationToken);
        var table = Keep(await rows.OpenWatchedAsync(cancellationToken));
        var next = 1;
        return new Writer(
            async () =>
            {
                var entry = Silos.Entry(next++);
                var read = await table.ReadRowAsync(entry.SiloAddress, CancellationToken.None);
                Require.That(await table.InsertRowAsync(entry, read.Version.Next(), CancellationToken.None), "insert");
            },
            async () =>
            {
                var read = await table.ReadRowAsync(Silos.Entry(0).SiloAddress, CancellationToken.None);
                var (entry, etag) = read.Members.Single();
                Require.That(await table.UpdateRowAsync(entry, etag, read.Version.Next(), CancellationToken.None), "update");
            });
    }

    private async Task<Writer> PlainAsync(string clusterId, CancellationToken cancellationToken)
    {
        var rows = new EtcdTable(bare, etcd, clusterId);
        await rows.FillAsync(1, cancellationToken);
        var next = 1;
        return new Writer(() => WriteAsync(Silos.Entry(next++)), () => WriteAsync(Silos.Entry(0)));

        async Task WriteAsync(MembershipEntry entry) =>
            Require.That((await bare.KV.TxnAsync(rows.WriteRequest(entry, await rows.TokensAsync(entry.SiloAddress, CancellationToken.None)), cancellationToken: CancellationToken.None)).Succeeded, "transaction");
    }

    private static async Task<Writer> PeerAsync(PeerTable peer, CancellationToken cancellationToken)
    {
        await peer.FillAsync(1, cancellationToken);
        var next = 1;
        return new Writer(() => WriteAsync(Silos.Entry(next++), peer.InsertAsync), () => WriteAsync(Silos.Entry(0), peer.UpdateAsync));

        async Task WriteAsync(MembershipEntry entry, Func<MembershipEntry, (TableVersion, string?), Task<bool>> write) =>
            Require.That(await write(entry, await peer.TokensAsync(entry, CancellationToken.None)), $"write to {peer.Name}");
    }

    private T Keep<T>(T table)
        where T : IAsyncDisposable
    {
        _open.Add(table);
        return table;
    }

    /// <summary>What the one writer of a cluster does.</summary>
    private sealed record Writer(Func<Task> Insert, Func<Task> Update);
}
