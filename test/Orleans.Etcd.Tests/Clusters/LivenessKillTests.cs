using System.Globalization;
using System.Text.RegularExpressions;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>How soon a killed silo is dead for the others, by its lease; Orleans' probes are left at their defaults.</summary>
public sealed class LivenessKillTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    [Fact]
    [Trait("Category", "Soak")]
    public async Task KilledSilo_IsDeadInTheOthersViews_AndItsGrainsAnswerAtOnce()
    {
        // Side by side, since most of it is waiting.
        var kills = await Task.WhenAll(KillAsync(ttl: 4, times: Soak.Or(1, 10)), KillAsync(ttl: 2, times: Soak.Or(1, 10)));
        Report(kills[0], ttl: 4);
        Report(kills[1], ttl: 2);
        // The median of one is the one.
        if (kills[0].Count > 2)
        {
            Assert.InRange(Median(kills[0].Select(kill => kill.ToDead)), 0, 4.5);
            Assert.InRange(Median(kills[1].Select(kill => kill.ToDead)), 0, 2.8);
        }

        Assert.All(kills[0], kill => Assert.InRange(kill.ToDead, 0, 4 + 3));
        Assert.All(kills[1], kill => Assert.InRange(kill.ToDead, 0, 2 + 3));
    }

    private async Task<List<Kill>> KillAsync(int ttl, int times)
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var settings = ("Liveness:LeaseTtl", $"00:00:0{ttl}");
        var silos = new Queue<SiloProcess>(await cluster.StartThreeAsync(settings));
        await cluster.StartClientAsync();
        var kills = new List<Kill>();
        for (var kill = 0; kill < times; kill++)
        {
            // At no particular time between two renewals.
            await Task.Delay(TimeSpan.FromSeconds(Random.Shared.NextDouble() * ttl / 3));
            var victim = silos.Dequeue();
            var grain = await cluster.FindGrainAsync(victim);
            var killed = DateTimeOffset.UtcNow;
            await victim.KillAsync();
            var dead = new List<double>();
            foreach (var survivor in silos)
                dead.Add((await survivor.SeesAsync(victim, SiloStatus.Dead, TimeSpan.FromSeconds(30)) - killed).TotalSeconds);
            // Not left to Orleans' own probes.
            var line = new Regex($@"Silo S{Regex.Escape(victim.Endpoint.ToString())}:\d+ has lost its liveness lease and was declared dead \(unreachable\)");
            await Eventually.IsTrueAsync(() => silos.Any(survivor => line.IsMatch(survivor.Output)), "one of the others did it");
            var called = DateTimeOffset.UtcNow;
            // One call, not tried again.
            var where = await grain.Here().WaitAsync(TimeSpan.FromSeconds(2));
            Assert.Contains(where.Endpoint, silos.Select(silo => silo.Endpoint));
            kills.Add(new Kill(dead.Max(), (DateTimeOffset.UtcNow - called).TotalSeconds));
            silos.Enqueue(await cluster.StartSiloAsync($"next{kill}", defaultProbes: true, more: settings));
            await cluster.SettledAsync([.. silos]);
        }

        return kills;
    }

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return (sorted[(sorted.Length - 1) / 2] + sorted[sorted.Length / 2]) / 2;
    }

    private void Report(List<Kill> kills, int ttl)
    {
        static string List(IEnumerable<double> seconds) => string.Join(' ', seconds.Order().Select(value => value.ToString("F2", CultureInfo.InvariantCulture)));
        output.WriteLine($"TTL {ttl} s: dead after {List(kills.Select(kill => kill.ToDead))} s; the call after that took {List(kills.Select(kill => kill.Call))} s");
    }

    private sealed record Kill(double ToDead, double Call);
}
