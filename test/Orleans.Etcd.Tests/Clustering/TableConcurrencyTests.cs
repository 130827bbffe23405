using System.Collections.Concurrent;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Several silos on one table at the same moment.</summary>
public abstract class TableConcurrencyTests(SharedEtcd etcd)
{
    [Fact]
    public async Task TwentyWritersOnOneVersion_ExactlyOneWins()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        for (var round = 0; round < 10; round++)
        {
            var version = (await cluster.First.ReadAllAsync()).Version;
            var wins = await Task.WhenAll(Enumerable.Range(0, 20).Select(writer =>
                Task.Run(() => (writer % 2 == 0 ? cluster.First : cluster.Second).InsertRowAsync(Silos.Entry((100 * round) + writer), version.Next()))));
            Assert.Single(wins, won => won);
            var after = await cluster.Second.ReadAllAsync();
            Assert.Equal(version.Version + 1, after.Version.Version);
            Assert.Equal(round + 1, after.Members.Count);
        }
    }

    [Fact]
    public async Task Reads_During128RowsOfWrites_ShowOnlyCommittedViews()
    {
        const int rows = 128;
        await using var cluster = await Cluster.CreateAsync(etcd);
        var committed = new ConcurrentDictionary<int, string>();
        var state = new SortedDictionary<int, SiloStatus>();
        committed[0] = Text(state);
        using var done = new CancellationTokenSource();
        var readers = new[] { cluster.First, cluster.Second, cluster.First, cluster.Second }.Select(table => Task.Run(async () =>
        {
            var views = new List<(int Version, string Text)>();
            while (!done.IsCancellationRequested)
            {
                var read = await table.ReadAllAsync();
                views.Add((read.Version.Version, Text(read.Members.Select(member => (member.Item1.SiloAddress.Endpoint.Port - 10_000, member.Item1.Status)))));
            }

            return views;
        })).ToArray();

        for (var i = 0; i < rows; i++)
            await WriteAsync(i, SiloStatus.Joining);
        for (var i = 0; i < rows; i += 2)
            await WriteAsync(i, SiloStatus.Active);
        await done.CancelAsync();

        var seen = (await Task.WhenAll(readers)).ToList();
        foreach (var views in seen)
        {
            Assert.All(views, view => Assert.Equal(committed[view.Version], view.Text));
            Assert.Equal(views.Select(view => view.Version).Order(), views.Select(view => view.Version));
        }

        Assert.True(seen.SelectMany(views => views).Select(view => view.Version).Distinct().Count() > 10, "the readers saw too few versions to show anything");

        async Task WriteAsync(int silo, SiloStatus status)
        {
            var read = await cluster.First.ReadRowAsync(Silos.Address(silo));
            state[silo] = status;
            // Recorded before it is written, since a reader may see it before the writer hears of it.
            committed[read.Version.Version + 1] = Text(state);
            Assert.True(read.Members.Count == 0
                ? await cluster.First.InsertRowAsync(Silos.Entry(silo, status), read.Version.Next())
                : await cluster.First.UpdateRowAsync(Silos.Entry(silo, status), read.Members[0].Item2, read.Version.Next()));
        }
    }

    [Fact]
    public async Task WritersOnTwoTables_NoCommittedWriteIsLost()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var writers = Enumerable.Range(0, 8).Select(writer => Task.Run(async () =>
        {
            var table = writer % 2 == 0 ? cluster.First : cluster.Second;
            for (var silo = 0; silo < 5;)
            {
                var read = await table.ReadAllAsync();
                if (await table.InsertRowAsync(Silos.Entry((writer * 10) + silo), read.Version.Next()))
                    silo++;
            }
        }));
        await Task.WhenAll(writers);
        var after = await cluster.First.ReadAllAsync();
        Assert.Equal(40, after.Version.Version);
        Assert.Equal(40, after.Members.Count);
    }

    private static string Text(IEnumerable<KeyValuePair<int, SiloStatus>> state) => Text(state.Select(row => (row.Key, row.Value)));

    private static string Text(IEnumerable<(int Silo, SiloStatus Status)> rows) => string.Join(" ", rows.OrderBy(row => row.Silo).Select(row => $"{row.Silo}={row.Status}"));
}

public sealed class TableConcurrencyOn34(SharedEtcd34 etcd) : TableConcurrencyTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableConcurrencyOn35(SharedEtcd35 etcd) : TableConcurrencyTests(etcd), IClassFixture<SharedEtcd35>;
