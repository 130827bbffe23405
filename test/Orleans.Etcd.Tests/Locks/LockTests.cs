using Orleans.Etcd.Tests.Clusters;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Locks as users meet them: through handles, on a cluster of three silos.</summary>
public sealed class LockTests(LockCluster cluster) : IClassFixture<LockCluster>
{
    private readonly ILocks _locks = cluster.Locks;

    [Fact]
    public async Task Acquire_Free_HoldsUntilDisposed()
    {
        var name = cluster.NewName();
        var held = await _locks.GetLock(name).AcquireAsync();
        Assert.Equal(name, held.Name);
        Assert.True(held.FencingToken > 0);
        Assert.InRange(held.Remaining, HostedCluster.LockTtl / 2, HostedCluster.LockTtl);
        Assert.Null(await _locks.GetLock(name).TryAcquireAsync());
        await held.DisposeAsync();
        Assert.Equal(TimeSpan.Zero, held.Remaining);
        Assert.False(held.LostToken.IsCancellationRequested);
        await using var next = await _locks.GetLock(name).TryAcquireAsync();
        Assert.True(next!.FencingToken > held.FencingToken);
        Assert.DoesNotContain(await cluster.KeysAsync(name), key => key.CreateRevision == held.FencingToken);
    }

    [Fact]
    public async Task Waiters_AreServedInTheOrderOfTheirComing()
    {
        var name = cluster.NewName();
        var first = await _locks.GetLock(name).AcquireAsync();
        var order = new List<int>();
        var waiters = new List<Task>();
        for (var i = 0; i < 10; i++)
        {
            var number = i;
            waiters.Add(Task.Run(async () =>
            {
                await using var held = await _locks.GetLock(name).AcquireAsync();
                order.Add(number);
            }));
            await cluster.UntilQueuedAsync(name, 2 + i);
        }

        await first.DisposeAsync();
        await Task.WhenAll(waiters);
        Assert.Equal(Enumerable.Range(0, 10), order);
        Assert.Empty(await cluster.KeysAsync(name));
    }
}
