using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Tests.Silo;
using Orleans.Runtime.Placement;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>
/// Waits until every client reaches grains on every silo, and these reach it. While silos and clients have just come, Orleans may lose
/// a call of an observer, which then ends after 30 s, and so does whatever its caller holds meanwhile.
/// </summary>
internal static class Reach
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    public static Task EachAsync(IReadOnlyList<IClusterClient> clients, IReadOnlyList<SiloAddress> silos) => Task.WhenAll(clients.Select(client => EachAsync(client, silos)));

    private static async Task EachAsync(IClusterClient client, IReadOnlyList<SiloAddress> silos)
    {
        var called = new Called();
        var reference = client.CreateObjectReference<ICalled>(called);
        var until = MonotonicClock.Now + Limit.Micros();
        await Task.WhenAll(silos.Select(async silo =>
        {
            while (!await IsReachedAsync(client, silo, reference))
            {
                if (MonotonicClock.Now > until)
                    throw new TimeoutException($"{silo} and a client do not reach each other after {Limit.TotalSeconds:0} s.");
            }
        }));
        client.DeleteObjectReference<ICalled>(reference);
        GC.KeepAlive(called);
    }

    private static async Task<bool> IsReachedAsync(IClusterClient client, SiloAddress silo, ICalled reference)
    {
        try
        {
            RequestContext.Set(IPlacementDirector.PlacementHintKey, silo);
            return silo.Equals(await client.GetGrain<ICaller>(Random.Shared.NextInt64()).Call(reference).WaitAsync(Patience));
        }
        catch (Exception exception) when (exception is TimeoutException or OrleansException)
        {
            return false;
        }
    }

    private sealed class Called : ICalled
    {
        public Task Call() => Task.CompletedTask;
    }
}
