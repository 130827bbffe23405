using System.Globalization;
using System.Text.RegularExpressions;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>
/// How soon a killed silo is dead for the others: by its lease alone, and by pings long before the lease ends. Orleans' probes are
/// left at their defaults.
/// </summary>
public sealed class LivenessKillTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    // Two thirds of it are longer than the pings may take.
    private const int LongTtl = 10;

    [Fact]
    [Trait("Category", "Soak")]
    public async Task KilledSilo_IsDeadInTheOthersViews_AndItsGrainsAnswerAtOnce()
    {
        // Side by side, since most of it is waiting.
        var kills = await Task.WhenAll(KillAsync(ttl: 4, pings: false, times: Soak.Or(1, 10)), KillAsync(ttl: LongTtl, pings: true, times: Soak.Or(1, 10)));
        Report(kills[0], "by a lease of 4 s");
        Report(kills[1], "by pings");
        // The median of one is the one.
        if (kills[0].Count > 2)
        {
            Assert.InRange(Median(kills[0].Select(kill => kill.ToDead)), 0, 4.5);
            Assert.InRange(Median(kills[1].Select(kill => kill.ToDead)), 0, 2.2);
        }

        // A lease lasts for two thirds of its TTL at least.
        Assert.All(kills[0], kill => Assert.InRange(kill.ToDead, 2.6, 4 + 3));
        // Up to a second to the first ping, half a second each to the second one and to write the key again.
        Assert.All(kills[1], kill => Assert.InRange(kill.ToDead, 0, 2 + 3));
    }

    private async Task<List<Kill>> KillAsync(int ttl, bool pings, int times)
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        (string, string)[] settings = [("Liveness:LeaseTtl", $"00:00:{ttl:00}"), ("Liveness:PingInterval", pings ? "00:00:01" : "00:00:00")];
        var silos = new Queue<SiloProcess>(await cluster.StartThreeAsync(settings));
        await cluster.StartClientAsync();
        var kills = new List<Kill>();
        for (var kill = 0; kill < times; kill++)
        {
            // At no particular time between two renewals or pings; where pings are to do it, when the others' own leases are old enough to judge.
            await Task.Delay(TimeSpan.FromSeconds((pings ? ttl : 0) + (Random.Shared.NextDouble() * ttl / 3)));
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

    private void Report(List<Kill> kills, string how)
    {
        static string List(IEnumerable<double> seconds) => string.Join(' ', seconds.Order().Select(value => value.ToString("F2", CultureInfo.InvariantCulture)));
        output.WriteLine($"{how}: dead after {List(kills.Select(kill => kill.ToDead))} s; the call after that took {List(kills.Select(kill => kill.Call))} s");
    }

    private sealed record Kill(double ToDead, double Call);
}
