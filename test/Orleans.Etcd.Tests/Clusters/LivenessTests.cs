using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Dead silos noticed by their leases, in processes of their own; Orleans' probes are left at their defaults.</summary>
public sealed class LivenessTests(SharedEtcd35 etcd, ITestOutputHelper output) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task FrozenSilo_IsEvicted_AndStopsItselfWhenItWakes()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync();
        var frozen = DateTimeOffset.UtcNow;
        silos[0].Freeze();
        foreach (var other in silos.Skip(1))
            Assert.InRange(await other.SeesAsync(silos[0], SiloStatus.Dead, TimeSpan.FromSeconds(30)) - frozen, TimeSpan.Zero, TimeSpan.FromSeconds(4 + 3));
        silos[0].Thaw();
        var woke = DateTimeOffset.UtcNow;
        Assert.NotEqual(0, await silos[0].WaitForExitAsync(TimeSpan.FromSeconds(30)));
        output.WriteLine($"ended {(DateTimeOffset.UtcNow - woke).TotalSeconds:F2} s after it woke");
        Assert.All(silos.Skip(1), other => Assert.False(other.HasExited, other.Output));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task SiloFrozenForLessThanTheTtl_Stays()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync();
        await using var table = await cluster.WatchTableAsync(etcd.Server.Connect());
        var frozen = Soak.Or(1, 3);
        for (var i = 0; i < frozen; i++)
            await FreezeAsync(silos[i], seconds: 2);
        await Task.Delay(TimeSpan.FromSeconds(4));
        // At most a third of the TTL had passed since the last renewal: no lease ended.
        Assert.All(silos, silo => Assert.DoesNotContain("has lost its liveness lease", silo.Output));
        // Here one may end before the silo wakes; then it has to answer.
        for (var i = 0; i < frozen; i++)
            await FreezeAsync(silos[^(i + 1)], seconds: 3.7);
        await Task.Delay(TimeSpan.FromSeconds(4 + 3));
        await table.AllLiveAsync(silos);
        Assert.All(silos, silo => Assert.DoesNotContain("was declared dead (", silo.Output));

        static async Task FreezeAsync(SiloProcess silo, double seconds)
        {
            silo.Freeze();
            await Task.Delay(TimeSpan.FromSeconds(seconds));
            silo.Thaw();
            await Task.Delay(TimeSpan.FromSeconds(3));
        }
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task SiloCutOffFromEtcdOnly_StaysAndIsReported_AndHoldsALeaseAgainLater()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync(("Endpoints", proxy.Endpoint.ToString()));
        await using var table = await cluster.WatchTableAsync(etcd.Server.Connect());
        proxy.Refuse();
        await Eventually.IsTrueAsync(() => silos.Skip(1).All(other => other.Output.Contains("has lost its liveness lease, but answers", StringComparison.Ordinal)), "both others report it");
        // The others go on asking it once in a TTL.
        await Task.Delay(TimeSpan.FromSeconds(2.5 * 4));
        await table.AllLiveAsync(silos);
        proxy.Pass();
        await Eventually.IsTrueAsync(() => silos[0].Output.Contains("is held again", StringComparison.Ordinal), "the lease is made again");
        // One that dies afterwards is missed as ever.
        await Task.Delay(TimeSpan.FromSeconds(4));
        var killed = DateTimeOffset.UtcNow;
        await silos[0].KillAsync();
        Assert.InRange(await silos[1].SeesAsync(silos[0], SiloStatus.Dead, TimeSpan.FromSeconds(30)) - killed, TimeSpan.Zero, TimeSpan.FromSeconds(4 + 3));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task SiloCutOffFromEtcdOnly_UnderEvictOnLeaseLoss_IsEvictedAndStops()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync(("Endpoints", proxy.Endpoint.ToString()), ("Liveness:EvictionPolicy", "EvictOnLeaseLoss"));
        proxy.Refuse();
        var cut = DateTimeOffset.UtcNow;
        // The lease, a third of it to see whether others go too, and half a second each for etcd and for this.
        Assert.InRange(await silos[1].SeesAsync(silos[0], SiloStatus.Dead, TimeSpan.FromSeconds(30)) - cut, TimeSpan.Zero, TimeSpan.FromSeconds(4 + 1.4 + 1.6));
        proxy.Pass();
        Assert.NotEqual(0, await silos[0].WaitForExitAsync(TimeSpan.FromSeconds(60)));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task KilledSilo_UnderReportOnly_IsLeftToOrleans()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync(("Liveness:EvictionPolicy", "ReportOnly"));
        var killed = DateTimeOffset.UtcNow;
        await silos[0].KillAsync();
        var dead = await silos[1].SeesAsync(silos[0], SiloStatus.Dead, TimeSpan.FromSeconds(60)) - killed;
        output.WriteLine($"Orleans' own probes took {dead.TotalSeconds:F2} s");
        Assert.Contains("it is reported only", silos[1].Output);
        Assert.DoesNotContain("was declared dead (", silos[1].Output + silos[2].Output);
    }

    /// <summary>
    /// One silo's vote alone does not do for Orleans while the others count as active, which they do until they have missed
    /// three of their heartbeats, and a silo that nobody answers probes ever more slowly: left to it, this took 92 to 135 s.
    /// </summary>
    [Fact]
    [Trait("Category", "Long")]
    public async Task TwoOfThreeKilledAtOnce_AreDeadAfterThreeTtls()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = await cluster.StartThreeAsync();
        var killed = DateTimeOffset.UtcNow;
        await Task.WhenAll(silos.Take(2).Select(silo => silo.KillAsync()));
        var dead = new List<double>();
        foreach (var victim in silos.Take(2))
            dead.Add((await silos[2].SeesAsync(victim, SiloStatus.Dead, TimeSpan.FromSeconds(60)) - killed).TotalSeconds);
        output.WriteLine($"dead after {dead[0]:F2} and {dead[1]:F2} s");
        Assert.Contains("went together with more than half of all", silos[2].Output);
        // Until the leases expire, and for two TTLs more; and a second for etcd and for this.
        Assert.All(dead, after => Assert.InRange(after, 2 * 4, (3 * 4) + 2));
        Assert.False(silos[2].HasExited, silos[2].Output);
    }
}
