namespace Orleans.Etcd.Benchmarks;

/// <summary>Does nothing: what a grain call costs by itself.</summary>
internal interface IEmptyGrain : IGrainWithIntegerKey
{
    Task Nothing();

    Task<SiloAddress> Here();
}

internal sealed class EmptyGrain(ILocalSiloDetails silo) : Grain, IEmptyGrain
{
    public Task Nothing() => Task.CompletedTask;

    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);
}
