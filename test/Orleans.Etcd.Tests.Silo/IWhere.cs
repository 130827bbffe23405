namespace Orleans.Etcd.Tests.Silo;

/// <summary>Tells where it lives.</summary>
public interface IWhere : IGrainWithIntegerKey
{
    Task<SiloAddress> Here();
}

public sealed class Where(ILocalSiloDetails silo) : Grain, IWhere
{
    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);
}
