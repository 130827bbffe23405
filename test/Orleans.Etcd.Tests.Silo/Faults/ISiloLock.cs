using Microsoft.Extensions.DependencyInjection;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Has a lock once, on the silo that the caller has hinted at.</summary>
public interface ISiloLock : IGrainWithIntegerKey
{
    /// <summary>Answers where it was had.</summary>
    Task<SiloAddress> HaveOnce(string name, TimeSpan within);
}

[RandomPlacement]
public sealed class SiloLock(IServiceProvider services) : Grain, ISiloLock
{
    public async Task<SiloAddress> HaveOnce(string name, TimeSpan within)
    {
        DeactivateOnIdle();
        using var limit = new CancellationTokenSource(within);
        await using (await services.GetRequiredService<ILocks>().GetLock(name).AcquireAsync(limit.Token))
            return services.GetRequiredService<ILocalSiloDetails>().SiloAddress;
    }
}
