using Orleans.Concurrency;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Uses a lock from within a grain.</summary>
public interface ILockUser : IGrainWithIntegerKey
{
    /// <summary>Counts under a lock; answers whether all of it ran on the grain's own scheduler.</summary>
    Task<bool> CountUnder(string lockName, int times);

    Task<int> Count();

    /// <summary>Acquires a lock, holds it for a while and answers its token.</summary>
    Task<long> HoldFor(string lockName, TimeSpan time);

    Task<SiloAddress> Here();
}

[RandomPlacement, Reentrant]
public sealed class LockUser(ILocalSiloDetails silo) : Grain, ILockUser
{
    private int _count;

    public async Task<bool> CountUnder(string lockName, int times)
    {
        var own = TaskScheduler.Current;
        var stayed = own != TaskScheduler.Default;
        for (var i = 0; i < times; i++)
        {
            await using (await GrainFactory.GetLock(lockName).AcquireAsync())
            {
                stayed &= TaskScheduler.Current == own;
                _count++;
            }

            stayed &= TaskScheduler.Current == own;
        }

        return stayed;
    }

    public Task<int> Count() => Task.FromResult(_count);

    public async Task<long> HoldFor(string lockName, TimeSpan time)
    {
        await using var held = await GrainFactory.GetLock(lockName).AcquireAsync();
        await Task.Delay(time);
        return held.FencingToken;
    }

    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);
}
