using Orleans.Concurrency;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Uses a lock from within a grain.</summary>
public interface ILockUser : IGrainWithIntegerKey
{
    /// <summary>Counts under a lock; answers whether all of it ran on the grain's own scheduler.</summary>
    Task<bool> CountUnder(string lockName, int times);

    Task<int> Count();

    /// <summary>Acquires a lock and keeps it; answers its token.</summary>
    Task<long> Hold(string lockName);

    /// <summary>Whether what it keeps is still held, and for how long at least.</summary>
    Task<(bool IsLost, TimeSpan Remaining)> Look();

    /// <summary>Gives back what it keeps.</summary>
    Task Release();

    Task<SiloAddress> Here();
}

[RandomPlacement, Reentrant]
public sealed class LockUser(ILocalSiloDetails silo) : Grain, ILockUser
{
    private int _count;
    private ILockHandle? _held;

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

    public async Task<long> Hold(string lockName)
    {
        _held = await GrainFactory.GetLock(lockName).AcquireAsync();
        return _held.FencingToken;
    }

    public Task<(bool IsLost, TimeSpan Remaining)> Look() => Task.FromResult((_held!.LostToken.IsCancellationRequested, _held.Remaining));

    public async Task Release() => await _held!.DisposeAsync();

    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);
}
