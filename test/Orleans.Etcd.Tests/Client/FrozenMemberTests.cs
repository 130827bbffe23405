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
