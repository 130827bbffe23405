using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Orleans.Etcd.Tests.Watching;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>What loops count belongs to the whole process, so nothing else may run at the same time.</summary>
[CollectionDefinition(nameof(LoopMeterTests), DisableParallelization = true)]
public sealed class LoopMeterCollection;

[Collection(nameof(LoopMeterTests))]
public sealed class LoopMeterTests
{
    [Fact]
    public async Task Meter_FailoverWatchAndLease_AreCounted()
    {
        await using var server = await EtcdServer.StartAsync();
        await using var one = TcpProxy.Start(server.Endpoint);
        await using var two = TcpProxy.Start(server.Endpoint);
        await using var direct = server.Connect();
        await using var etcd = Connections.Connect(one.Endpoint, two.Endpoint);
        var counts = new ConcurrentDictionary<string, long>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, me) =>
        {
            if (instrument.Meter.Name == "Orleans.Etcd")
                me.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((instrument, measured, _, _) => counts.AddOrUpdate(instrument.Name, measured, (_, sum) => sum + measured));
        listener.Start();
        long Count(string name) => counts.GetValueOrDefault($"orleans.etcd.{name}");

        await using var log = new WatchedLog(etcd, "metered/");
        await log.WaitForStartAsync();
        var lease = await etcd.Leases.GrantAsync(TimeSpan.FromSeconds(3), CancellationToken.None);
        await Eventually.IsTrueAsync(() => Count("lease.renewals") > 0, "renewals are counted");
        Assert.Equal(1, Count("watch.resyncs"));
        Assert.Equal(0, Count("watch.reopens"));
        Assert.Equal(0, Count("endpoint.failovers"));

        // The member in use goes: calls move, and the watch is opened again where they are now.
        var (used, unused) = one.Accepted > 0 ? (one, two) : (two, one);
        used.Refuse();
        await etcd.GetAsync("metered/a");
        await direct.PutAsync("metered/a", "1");
        await log.WaitForAsync(batch => batch.Snapshot.Values.Count == 1, "the watch goes on");
        Assert.Equal(1, Count("endpoint.failovers"));
        Assert.Equal(1, Count("watch.reopens"));
        Assert.Equal(1, Count("watch.resyncs"));

        unused.Refuse();
        await direct.PutAsync("metered/b", "1");
        await server.CompactAsync(await server.GetRevisionAsync());
        unused.Pass();
        await log.WaitForAsync(batch => batch.IsResync && batch.Snapshot.Values.Count == 2, "the watch reads anew");
        Assert.Equal(2, Count("watch.resyncs"));

        Assert.Equal(0, Count("lease.lost"));
        await direct.RevokeAsync(lease.Id, CancellationToken.None);
        await Eventually.IsTrueAsync(() => Count("lease.lost") == 1, "the loss is counted");
        await etcd.DisposeAsync();
        Assert.Equal(1, Count("lease.lost"));
    }
}
