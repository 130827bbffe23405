using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Silos as processes of their own: what happens to them really happens.</summary>
public sealed class ProcessTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Silos_JoinLeaveDieAndComeBack_AndTheClientFollows()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        // All at once, as after a power cut, and the client with them.
        var silos = await Task.WhenAll(cluster.StartSiloAsync("one"), cluster.StartSiloAsync("two"), cluster.StartSiloAsync("three"));
        await cluster.StartClientAsync();
        foreach (var silo in silos)
            await cluster.SeesAsync(silo, SiloStatus.Active);
        await cluster.AnswersAsync(silos);

        silos[0].Terminate();
        await silos[0].WaitForExitAsync(TimeSpan.FromSeconds(30));
        var left = await cluster.SeesAsync(silos[0], SiloStatus.Dead);
        Assert.DoesNotContain(left.SuspectTimes ?? [], vote => !vote.Item1.Equals(left.SiloAddress));
        await cluster.AnswersAsync(silos[1], silos[2]);

        await silos[1].KillAsync();
        var died = await cluster.SeesAsync(silos[1], SiloStatus.Dead);
        Assert.Contains(died.SuspectTimes!, vote => vote.Item1.Endpoint.Equals(silos[2].Endpoint));
        await cluster.AnswersAsync(silos[2]);

        // The same address again, a new generation.
        var again = await cluster.StartSiloAsync("two", (silos[1].Endpoint.Port, silos[1].GatewayPort));
        var back = await cluster.SeesAsync(again, SiloStatus.Active);
        Assert.True(back.SiloAddress.Generation > died.SiloAddress.Generation);
        await cluster.AnswersAsync(again, silos[2]);
    }

    [Fact]
    public async Task RestartOnTheSamePort_BeforeItIsMissed_SupersedesTheOldRow()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        // Or its lease would be missed before another process has started.
        var left = ("Liveness:EvictionPolicy", "ReportOnly");
        var one = await cluster.StartSiloAsync("one", defaultProbes: true, more: left);
        var two = await cluster.StartSiloAsync("two", defaultProbes: true, more: left);
        await cluster.StartClientAsync();
        await cluster.SeesAsync(one, SiloStatus.Active);
        var old = await cluster.SeesAsync(two, SiloStatus.Active);
        await two.KillAsync();
        var again = await cluster.StartSiloAsync("two", (two.Endpoint.Port, two.GatewayPort), defaultProbes: true, more: left);
        await cluster.AnswersAsync(one, again);
        var hosts = await cluster.Client.GetGrain<IManagementGrain>(0).GetDetailedHosts(onlyActive: false);
        var superseded = hosts.Single(host => host.SiloAddress.Equals(old.SiloAddress));
        Assert.Equal(SiloStatus.Dead, superseded.Status);
        // By the one that came after it, and not by the probes of others.
        Assert.DoesNotContain(superseded.SuspectTimes ?? [], vote => vote.Item1.Endpoint.Equals(one.Endpoint));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task FrozenSilo_IsDeclaredDead_AndStopsItselfWhenItWakes()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var silos = new[] { await cluster.StartSiloAsync("one"), await cluster.StartSiloAsync("two"), await cluster.StartSiloAsync("three") };
        await cluster.StartClientAsync();
        foreach (var silo in silos)
            await cluster.SeesAsync(silo, SiloStatus.Active);
        silos[2].Freeze();
        await cluster.SeesAsync(silos[2], SiloStatus.Dead);
        await cluster.AnswersAsync(silos[0], silos[1]);
        silos[2].Thaw();
        await silos[2].WaitForExitAsync(TimeSpan.FromSeconds(30));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task SiloDiesWhileEtcdIsDown_TheClientGoesOnThroughTheOthers()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await using var cluster = new ClusterProcesses([server.Endpoint]);
        var silos = await Task.WhenAll(cluster.StartSiloAsync("one"), cluster.StartSiloAsync("two"), cluster.StartSiloAsync("three"));
        await cluster.StartClientAsync();
        await cluster.AnswersAsync(silos);
        await server.KillAsync();
        await silos[0].KillAsync();
        // Nobody can declare it dead, and grains of its part of the directory are not found; the others answer.
        await cluster.AnswersAsync(silos[1], silos[2]);
        await server.RestartAsync();
        await cluster.SeesAsync(silos[0], SiloStatus.Dead);
        await cluster.AnswersAsync(silos[1], silos[2]);
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task EtcdRestarts_NoSiloDies()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await using var cluster = new ClusterProcesses([server.Endpoint]);
        var silos = await Task.WhenAll(cluster.StartSiloAsync("one", defaultProbes: true), cluster.StartSiloAsync("two", defaultProbes: true));
        await cluster.StartClientAsync();
        await cluster.AnswersAsync(silos);
        await server.StopAsync();
        await cluster.AnswersAsync(silos);
        await server.RestartAsync();
        var joined = await cluster.StartSiloAsync("three", defaultProbes: true);
        await cluster.AnswersAsync([.. silos, joined]);
        foreach (var silo in silos)
        {
            Assert.False(silo.HasExited, silo.Output);
            await cluster.SeesAsync(silo, SiloStatus.Active);
        }
    }

    [Fact]
    public async Task ClientStartedBeforeAnySilo_WaitsAndThenConnects()
    {
        await using var cluster = new ClusterProcesses([etcd.Server.Endpoint]);
        var starting = cluster.StartClientAsync();
        await Task.Delay(TimeSpan.FromSeconds(3));
        Assert.False(starting.IsCompleted);
        var silo = await cluster.StartSiloAsync("late");
        await starting.WaitAsync(TimeSpan.FromSeconds(60));
        await cluster.AnswersAsync(silo);
    }

    [Fact]
    public async Task EverythingStartedBeforeEtcd_ComesUpOnceEtcdIsThere()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await server.StopAsync();
        await using var cluster = new ClusterProcesses([server.Endpoint]);
        var silo = await cluster.StartSiloAsync("early");
        var starting = cluster.StartClientAsync();
        // Both have met an etcd that refuses: the silo says so, and the client waits for its first list of gateways.
        while (!silo.Output.Contains("etcd cannot be used yet", StringComparison.Ordinal))
        {
            Assert.False(silo.HasExited, silo.Output);
            await Task.Delay(50);
        }

        Assert.False(starting.IsCompleted);
        await server.RestartAsync();
        await Task.WhenAny(starting, Task.Delay(TimeSpan.FromSeconds(60)));
        Assert.True(starting.IsCompleted, $"the client has not started; the silo: {silo.Output}");
        await starting;
        await cluster.AnswersAsync(silo);
    }
}
