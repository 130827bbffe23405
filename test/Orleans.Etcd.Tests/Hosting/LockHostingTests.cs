using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary><c>AddEtcdLocks</c> on silos and clients: what is refused, and how it is found.</summary>
public sealed class LockHostingTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Theory]
    [InlineData(nameof(EtcdLockOptions.SessionTtl), "00:00:01")]
    [InlineData(nameof(EtcdLockOptions.SessionTtl), "01:00:00")]
    [InlineData(nameof(EtcdLockOptions.ReleaseTimeout), "00:00:00")]
    [InlineData(nameof(EtcdLockOptions.ReleaseTimeout), "00:02:00")]
    [InlineData(nameof(EtcdLockOptions.OutageTimeout), "-00:00:01")]
    [InlineData(nameof(EtcdLockOptions.OutageTimeout), "02:00:00")]
    public async Task Duration_OutOfRange_IsRefusedByName_OnSilosAndClients(string option, string value)
    {
        void Set(EtcdLockOptions options) => typeof(EtcdLockOptions).GetProperty(option)!.SetValue(options, TimeSpan.Parse(value, System.Globalization.CultureInfo.InvariantCulture));
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering("http://127.0.0.1:1").AddEtcdLocks(Set));
        Assert.StartsWith($"EtcdLockOptions.{option} ", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message);
        using var client = Hosts.Client(builder => builder.UseEtcdClustering("http://127.0.0.1:1").AddEtcdLocks(Set));
        Assert.StartsWith($"EtcdLockOptions.{option} ", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => client.StartAsync())).Message);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(257)]
    public async Task Owner_OutOfRange_IsRefused_WithAllElseThatIsWrong(int length)
    {
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering("http://127.0.0.1:1").AddEtcdLocks(options => (options.Owner, options.SessionTtl) = (new string('x', length), TimeSpan.Zero)));
        var message = (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message;
        Assert.Contains("EtcdLockOptions.Owner ", message);
        Assert.Contains("EtcdLockOptions.SessionTtl ", message);
    }

    [Fact]
    public async Task ClusterId_ThatIsTheNameOfALockRoom_IsRefused()
    {
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering("http://127.0.0.1:1").Configure<ClusterOptions>(options => options.ClusterId = "locks"));
        Assert.Contains("clusterId is 'locks'", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message);
    }

    [Fact]
    public async Task Silo_WithoutAConnection_IsToldWhatToCall()
    {
        using var silo = Hosts.Silo(builder => builder.UseLocalhostClustering().AddEtcdLocks());
        Assert.Contains("AddEtcdClient", (await Assert.ThrowsAsync<OrleansConfigurationException>(() => silo.StartAsync())).Message);
    }

    [Fact]
    public async Task Locks_AreFoundByInjectionAndByTheGrainFactory_CalledTwiceOrOverAKeyedConnection()
    {
        using var plain = Hosts.Silo(builder => builder.UseEtcdClustering(options => etcd.Server.Configure(options)).AddEtcdLocks().AddEtcdLocks(options => options.SessionTtl = TimeSpan.FromSeconds(5)));
        using var keyed = Hosts.Silo(builder =>
        {
            builder.Services.AddKeyedEtcdClient("key", options => etcd.Server.Configure(options));
            builder.UseLocalhostClustering(Orleans.Etcd.Testing.LoopbackPort.Take(), Orleans.Etcd.Testing.LoopbackPort.Take()).AddKeyedEtcdLocks("key");
        });
        foreach (var host in new[] { plain, keyed })
        {
            await host.StartAsync();
            var locks = host.Services.GetRequiredService<ILocks>();
            Assert.Same(locks, host.Services.GetRequiredService<IGrainFactory>().GetLocks());
            Assert.Same(locks, host.Services.GetRequiredService<IClusterClient>().GetLocks());
            var held = await locks.GetLock("lock").AcquireAsync();
            if (host == plain)
                Assert.InRange(held.Remaining, TimeSpan.Zero, TimeSpan.FromSeconds(5));
            await host.StopAsync();
            // Its end frees what it held.
            Assert.True(held.LostToken.IsCancellationRequested);
            await held.DisposeAsync();
        }
    }

    [Fact]
    public void LocksAndConfigOfTwoConnections_AreRefused()
    {
        using var both = Hosts.Silo(builder =>
        {
            builder.AddEtcdLocks().AddEtcdLocks().AddKeyedEtcdConfig("one");
            Assert.Contains("'other'", Assert.Throws<OrleansConfigurationException>(() => builder.AddKeyedEtcdLocks("other")).Message);
            Assert.Contains("without a key", Assert.Throws<OrleansConfigurationException>(() => builder.AddEtcdConfig()).Message);
        });
        using var client = Hosts.Client(builder => Assert.Throws<OrleansConfigurationException>(() => builder.AddKeyedEtcdLocks("one").AddEtcdLocks()));
    }

    /// <summary>A grain is not deactivated while a call of it runs, and all that its silo holds stays held until its shutdown is given up.</summary>
    [Fact]
    public async Task SiloThatStops_WaitsForNoGrainThatWaitsForALock_AndAlarmsNobody()
    {
        var id = Hosts.NewId();
        var log = new RecordedLog();
        using var silo = Hosts.Silo(builder => builder.WithId(id).UseEtcdClustering(options => etcd.Server.Configure(options)).AddEtcdLocks().Services.AddSingleton<ILoggerProvider>(log));
        await silo.StartAsync();
        await using var etcdctl = etcd.Server.Connect();
        var foreign = EtcdKeys.Lock("orleans", id, "locks", "busy") + "somebody";
        await etcdctl.PutAsync(foreign, "");
        var grains = silo.Services.GetRequiredService<IGrainFactory>();
        var waiting = grains.GetGrain<ILockUser>(0).HoldFor("busy", TimeSpan.Zero);
        await Eventually.IsTrueAsync(async () => (await grains.GetLock("busy").GetStatusAsync()).Waiters == 1, "it waits");
        var locks = silo.Services.GetRequiredService<ILocks>();
        var held = await locks.GetLock("held").AcquireAsync();
        var since = Stopwatch.StartNew();
        var stopping = silo.StopAsync();
        var thrown = await Record.ExceptionAsync(() => waiting.WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.IsType<ObjectDisposedException>(thrown);
        await stopping;
        Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(10));
        Assert.True(held.LostToken.IsCancellationRequested);
        Assert.Contains(log.Lines, line => line.StartsWith("Information Orleans.Etcd", StringComparison.Ordinal) && line.Contains("releases the 1 locks", StringComparison.Ordinal));
        Assert.DoesNotContain(log.Lines, line => line.StartsWith("Error Orleans.Etcd", StringComparison.Ordinal));
        Assert.Equal(["somebody"], (await etcdctl.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", id, "locks", "busy")))).Kvs.Select(kv => kv.Key.ToStringUtf8().Split('/')[^1]));
    }

    [Fact]
    public async Task WhereLocksWereNotAdded_ItIsSaid()
    {
        using var silo = Hosts.Silo(builder => builder.UseEtcdClustering(options => etcd.Server.Configure(options)));
        await silo.StartAsync();
        var grains = silo.Services.GetRequiredService<IGrainFactory>();
        Assert.Contains("AddEtcdLocks", Assert.Throws<InvalidOperationException>(() => grains.GetLock("lock")).Message);
        Assert.Contains("AddEtcdLocks", (await Assert.ThrowsAsync<InvalidOperationException>(() => grains.GetGrain<ILockGrain>("lock").GetStatus())).Message);
        await silo.StopAsync();
    }
}
