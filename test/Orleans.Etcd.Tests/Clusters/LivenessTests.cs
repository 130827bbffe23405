using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Dead silos noticed by their leases, in processes of their own; Orleans' probes are left at their defaults.</summary>
public sealed class LivenessTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    private static readonly TimeSpan Joined = TimeSpan.FromSeconds(30);

    [Theory]
    [InlineData(4, 4.5)]
    [InlineData(2, 2.8)]
    public async Task KilledSilo_IsDeadInTheOthersViews(int ttl, double within)
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = new List<SiloProcess>(await Task.WhenAll(Enumerable.Range(0, 3).Select(i => StartAsync(cluster, $"silo{i}", ttl))));
        var took = new List<double>();
        for (var kill = 0; kill < 10; kill++)
        {
            await EachSeesAllAsync(silos);
            // Who judges has held a lease of its own for a whole TTL.
            await Task.Delay(TimeSpan.FromSeconds(ttl * (1 + (Random.Shared.NextDouble() / 3))));
            var victim = silos[0];
            silos.RemoveAt(0);
            var killed = DateTimeOffset.UtcNow;
            await victim.KillAsync();
            foreach (var survivor in silos)
                took.Add((await survivor.SeesAsync(victim, SiloStatus.Dead, TimeSpan.FromSeconds(30)) - killed).TotalSeconds);
            silos.Add(await StartAsync(cluster, $"next{kill}", ttl));
        }

        took.Sort();
        output.WriteLine($"TTL {ttl} s: {string.Join(' ', took.Select(seconds => $"{seconds:F2}"))}");
        Assert.True(took[took.Count / 2] <= within, $"median {took[took.Count / 2]:F2} s of {string.Join(' ', took)}");
    }

    private static Task<SiloProcess> StartAsync(ClusterProcesses cluster, string name, int ttl) =>
        cluster.StartSiloAsync(name, defaultProbes: true, more: ("Liveness:LeaseTtl", $"00:00:0{ttl}"));

    private static async Task EachSeesAllAsync(IReadOnlyCollection<SiloProcess> silos)
    {
        foreach (var silo in silos)
        {
            foreach (var other in silos)
                await silo.SeesAsync(other, SiloStatus.Active, Joined);
        }
    }
}
