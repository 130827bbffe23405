namespace Orleans.Etcd.Benchmarks;

/// <summary>A grain that takes a lock, as users' grains do.</summary>
internal interface ILockCycleGrain : IGrainWithIntegerKey
{
    Task Cycle(string name);
}

internal sealed class LockCycleGrain : Grain, ILockCycleGrain
{
    public async Task Cycle(string name)
    {
        await using var held = await GrainFactory.GetLock(name).AcquireAsync();
    }
}
