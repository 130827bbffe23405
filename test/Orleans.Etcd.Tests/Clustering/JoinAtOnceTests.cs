using System.Diagnostics;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>
/// Fifty silos' tables, each with its own watch, that write their rows at the same moment. With whole silos and Orleans'
/// own pauses: <c>./run-benchmarks failover</c>.
/// </summary>
public sealed class JoinAtOnceTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    private const int Count = 50;

    [Fact]
    public async Task Fifty_AreAllActive_InEachOnesOwnWatch()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var connections = Enumerable.Range(0, 5).Select(_ => cluster.Connect(etcd)).ToArray();
        var tables = Enumerable.Range(0, Count).Select(silo => cluster.Table(connections[silo % connections.Length])).ToArray();
        await Task.WhenAll(tables.Select(table => table.InitializeMembershipTableAsync(true)));

        var clock = Stopwatch.StartNew();
        var conflicts = await Task.WhenAll(tables.Select((table, silo) => Task.Run(() => JoinAsync(table, silo))));
        var written = clock.Elapsed;
        foreach (var table in tables)
            await table.View.WaitAsync(view => table.VersionOf(view) == 2 * Count, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(10));
        output.WriteLine($"{Count} silos: all Active after {written.TotalSeconds:F2} s, seen by all after {clock.Elapsed.TotalSeconds:F2} s, {conflicts.Sum()} conflicts");

        // Each write raised the version by one: none was lost and none was made twice.
        var end = await cluster.Second.ReadAllAsync();
        Assert.Equal(2 * Count, end.Version.Version);
        Assert.Equal(Count, end.Members.Count(member => member.Item1.Status == SiloStatus.Active));
        Assert.True(conflicts.Sum() > 0, "they did not write at the same moment");
    }

    /// <summary>Writes the row as Joining and then as Active; answers how often somebody else was first.</summary>
    private static async Task<int> JoinAsync(EtcdMembershipTable table, int silo)
    {
        var conflicts = 0;
        foreach (var status in new[] { SiloStatus.Joining, SiloStatus.Active })
        {
            while (true)
            {
                var read = await table.ReadRowAsync(Silos.Address(silo));
                var entry = Silos.Entry(silo, status);
                if (read.Members.Count == 0 ? await table.InsertRowAsync(entry, read.Version.Next()) : await table.UpdateRowAsync(entry, read.Members[0].Item2, read.Version.Next()))
                    break;
                conflicts++;
                await Task.Delay(Random.Shared.Next(50));
            }
        }

        return conflicts;
    }
}
