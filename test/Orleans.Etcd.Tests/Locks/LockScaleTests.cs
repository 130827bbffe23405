using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Very many locks in one process, whose memory nobody else is to use meanwhile.</summary>
[Collection(nameof(LockContentionTests))]
public sealed class LockScaleTests(ITestOutputHelper output)
{
    private const int Count = 10_000;
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(15);

    [Fact]
    [Trait("Category", "Long")]
    [Trait("Category", "Soak")]
    public async Task TenThousandLocks_HangOnOneLease_RenewedEveryThirdOfItsTtl()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        await using var silo = QueueSilo.Start(etcd, "service");
        await using var client = new QueueClient(etcd.Connect(), "service", silo.Grain, Ttl);
        var before = GC.GetTotalMemory(forceFullCollection: true);
        var held = new ILockHandle[Count];
        await Parallel.ForAsync(0, Count, new ParallelOptions { MaxDegreeOfParallelism = 64 }, async (i, stop) => held[i] = await client.Locks.GetLock($"lock-{i}").AcquireAsync(stop));
        var acquired = GC.GetTotalMemory(forceFullCollection: true);
        var renewed = await RenewedAsync();
        var time = TimeSpan.FromSeconds(Soak.Or(15, 300));
        await Task.Delay(time);
        output.WriteLine($"{(acquired - before) / Count} bytes a lock; {await RenewedAsync() - renewed} renewals in {time}");
        Assert.DoesNotContain(held, handle => handle.LostToken.IsCancellationRequested || handle.Remaining < Ttl / 3);
        var due = (long)(time / (Ttl / 3));
        Assert.InRange(await RenewedAsync() - renewed, due - 1, due + 1);
        var keys = (await silo.Etcd.RangeAsync(Txn.Range("orleans/service/locks/"))).Kvs;
        Assert.Equal(Count, keys.Count);
        Assert.Equal(await client.SessionAsync(), Assert.Single(keys.Select(key => key.Lease).Distinct()));
        var grown = (GC.GetTotalMemory(forceFullCollection: true) - before) / Count;
        Assert.True(grown < 8_000, $"{grown} bytes a lock");
        await client.DisposeAsync();
        Assert.Empty((await silo.Etcd.RangeAsync(Txn.Range("orleans/service/locks/"))).Kvs);

        Task<long> RenewedAsync() => Metrics.ReadAsync(etcd, "etcd_debugging_lease_renewed_total", "");
    }
}
