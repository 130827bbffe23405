using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.FaultTests.Workloads;
using Xunit;

namespace Orleans.Etcd.FaultTests;

/// <summary>
/// The control of all lock runs: a holder that does not look whether it still holds, whose lease is taken away between its read and
/// its write. With a fence nothing is lost; without one the same history must lose what another added, else no run would show anything.
/// </summary>
public sealed class FenceTests
{
    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(true, true)]
    public async Task HolderWhoseLeaseIsTakenAway_LosesNothing_ExceptWithoutAFence(bool isFenced, bool inEtcd)
    {
        await using var deployment = await Deployment.StartAsync("3.5", silos: 1, onLoopback: true);
        await using var store = deployment.Connect();
        var ledger = inEtcd ? new EtcdLedger(store, "fence", "set") : new LockLedger(isFenced);
        var name = $"{Guid.NewGuid():N}";
        var (naive, other) = (Lock(0), Lock(1));
        await AddAsync(ledger, await naive.AcquireAsync());
        await using var held = await naive.AcquireAsync();
        var read = await ledger.Read(held.FencingToken);
        await using var etcd = deployment.Connect();
        var keys = await etcd.RangeAsync(Txn.Range(EtcdKeys.Lock(Configuration.EtcdOptions.DefaultKeyPrefix, deployment.Id, "locks", name)));
        await deployment.Etcd.Members[0].RevokeLeaseAsync(keys.Kvs.Single().Lease);

        await AddAsync(ledger, await other.AcquireAsync().WaitAsync(TimeSpan.FromSeconds(10)));
        var element = await ledger.NewElement();
        if (await ledger.Write(held.FencingToken, [.. read!, element]))
            await ledger.Added(element);
        Assert.Equal(isFenced, (await ledger.LostAsync()).Count == 0);
        Assert.Equal(isFenced ? 1 : 0, ledger.Refused);
        Assert.Equal(isFenced ? 2 : 3, ledger.Acknowledged.Count);

        ILock Lock(int client) => deployment.Clients[client].ServiceProvider.GetRequiredService<ILocks>().GetLock(name);
    }

    private static async Task AddAsync(LockLedger ledger, ILockHandle handle)
    {
        var elements = await ledger.Read(handle.FencingToken);
        var element = await ledger.NewElement();
        Assert.True(await ledger.Write(handle.FencingToken, [.. elements!, element]));
        await ledger.Added(element);
        await handle.DisposeAsync();
    }
}
