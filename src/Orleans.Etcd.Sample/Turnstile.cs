using Orleans.Placement;

namespace Orleans.Etcd.Sample;

/// <summary>A turnstile of a stadium: counts who went through since its activation, and tells on which silo it lives.</summary>
public interface ITurnstile : IGrainWithIntegerKey
{
    Task<Passage> Enter();
}

[GenerateSerializer, Immutable]
public sealed record Passage([property: Id(0)] long Count, [property: Id(1)] string Silo);

// At random, so that every silo is soon seen at work; by default Orleans prefers the one with the least load.
[RandomPlacement]
public sealed class Turnstile(ILocalSiloDetails silo) : Grain, ITurnstile
{
    private long _count;

    public Task<Passage> Enter() => Task.FromResult(new Passage(++_count, silo.Name));
}
