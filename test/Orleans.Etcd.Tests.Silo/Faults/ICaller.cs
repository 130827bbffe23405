using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Someone in a client who can be called.</summary>
public interface ICalled : IGrainObserver
{
    Task Call();
}

/// <summary>Calls someone in a client from its silo.</summary>
public interface ICaller : IGrainWithIntegerKey
{
    /// <summary>Answers from which silo it was done.</summary>
    Task<SiloAddress> Call(ICalled called);
}

[RandomPlacement]
public sealed class Caller(ILocalSiloDetails silo) : Grain, ICaller
{
    public async Task<SiloAddress> Call(ICalled called)
    {
        DeactivateOnIdle();
        await called.Call();
        return silo.SiloAddress;
    }
}
