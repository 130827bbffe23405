using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Tells where it lives.</summary>
public interface IWhere : IGrainWithIntegerKey
{
    Task<SiloAddress> Here();
}

// At random: by default Orleans prefers the silo with the least load, and one of the others is rarely heard of.
[RandomPlacement]
public sealed class Where(ILocalSiloDetails silo) : Grain, IWhere
{
    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);
}
