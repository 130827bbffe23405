using Orleans.Placement;

namespace Orleans.Etcd.Sample;

/// <summary>
/// A turnstile of a stadium: counts who went through since its activation, up to a limit that etcd holds, and tells on which silo it lives.
/// </summary>
public interface ITurnstile : IGrainWithIntegerKey
{
    Task<Passage> Enter();
}

[GenerateSerializer, Immutable]
public sealed record Passage([property: Id(0)] long Count, [property: Id(1)] string Silo, [property: Id(2)] bool IsOpen);

// At random, so that every silo is soon seen at work; by default Orleans prefers the one with the least load.
[RandomPlacement]
public sealed class Turnstile(ILocalSiloDetails silo, IConfigView gates) : Grain, ITurnstile
{
    private long _count;

    public Task<Passage> Enter()
    {
        // A dictionary read, of what the silo's watch saw last.
        var isOpen = _count < gates.Get(Gates.Limit, long.MaxValue);
        return Task.FromResult(new Passage(isOpen ? ++_count : _count, silo.Name, isOpen));
    }
}
