using System.Text;
using Orleans.Placement;

namespace Orleans.Etcd.Sample;

/// <summary>Counts the stadium's one till, of which there are many at work: each takes the till's lock first.</summary>
public interface ICashier : IGrainWithIntegerKey
{
    /// <summary>The silo that it works on.</summary>
    Task<string> Silo();

    /// <summary>Counts the till if that is free within the wait; answers the lock's token, or 0.</summary>
    Task<long> Count(string till, TimeSpan wait);
}

[RandomPlacement]
public sealed class Cashier(ILocalSiloDetails silo, EtcdConnection etcd) : Grain, ICashier
{
    public Task<string> Silo() => Task.FromResult(silo.Name);

    public async Task<long> Count(string till, TimeSpan wait)
    {
        await using var held = await GrainFactory.GetLock(till).TryAcquireAsync(wait);
        if (held is null)
            return 0;
        var note = Encoding.UTF8.GetBytes($"counted on {silo.Name}");
        return await FencedWrite.PutAsync(etcd, till, held.FencingToken, $"stadium/{till}", note) ? held.FencingToken : 0;
    }
}
