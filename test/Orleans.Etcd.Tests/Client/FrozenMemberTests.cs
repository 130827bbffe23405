using System.Diagnostics;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>One of three members is frozen: it accepts connections and answers nothing.</summary>
public sealed class FrozenMemberTests
{
    // Longer than the longest election that was measured, so that a call under way outlives one.
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(4);

    [Fact]
    public async Task Calls_EachMemberFrozenInTurn_SucceedInTimeAndThenAtOnce()
    {
        await using var cluster = await EtcdCluster.StartAsync();
        foreach (var member in cluster.Members)
        {
            // A connection begins at a member drawn by chance: with so many, some begin at the frozen one.
            var connections = Enumerable.Range(0, 12).Select(_ => cluster.Connect(options => options.RequestTimeout = Timeout)).ToArray();
            member.Pause();
            // Where the leader is frozen the others first elect another, which no client can hurry.
            await cluster.GetLeaderAsync();
            await Task.WhenAll(connections.Select((etcd, i) => UseAsync(etcd, $"{member.Name}/{i}")));
            member.Resume();
            await cluster.GetLeaderAsync();
        }
    }

    [Fact]
    public async Task Watches_OnConnectionsWithoutCalls_LeaveAFrozenMemberWithinFiveSeconds()
    {
        await using var cluster = await EtcdCluster.StartAsync();
        await using var writer = cluster.Connect();
        var leader = await cluster.GetLeaderAsync();
        // A connection begins at a member drawn by chance: of so many, some begin at the one that will freeze.
        var connections = Enumerable.Range(0, 24).Select(_ => cluster.Connect()).ToArray();
        var watches = connections.Select(etcd => new RangeWatch(etcd, "watched/")).ToArray();
        try
        {
            await Task.WhenAll(watches.Select(watch => watch.Batches.ReadAsync().AsTask()));
            // Longer than the silence after which a member is asked: those that answer keep their watches.
            await Task.Delay(TimeSpan.FromSeconds(3));
            cluster.Members.First(member => member != leader).Pause();
            var since = Stopwatch.StartNew();
            await writer.PutRepeatablyAsync(new() { Key = Connections.Bytes("watched/key"), Value = Connections.Bytes("1") }, CancellationToken.None);
            await Task.WhenAll(watches.Select(watch => watch.Batches.ReadAsync().AsTask())).WaitAsync(TimeSpan.FromSeconds(30));
            Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(5));
        }
        finally
        {
            foreach (var watch in watches)
                await watch.DisposeAsync();
            foreach (var etcd in connections)
                await etcd.DisposeAsync();
        }
    }

    private static async Task UseAsync(EtcdConnection etcd, string key)
    {
        await using (etcd)
        {
            var since = Stopwatch.StartNew();
            await etcd.PutRepeatablyAsync(new() { Key = Connections.Bytes(key), Value = Connections.Bytes("1") }, CancellationToken.None);
            Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout * 2);
            for (var i = 0; i < 5; i++)
            {
                since.Restart();
                await etcd.GetAsync(key);
                // An ordinary write too: the frozen member is known.
                await etcd.PutAsync(key, "2");
                Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout / 2);
            }
        }
    }
}
