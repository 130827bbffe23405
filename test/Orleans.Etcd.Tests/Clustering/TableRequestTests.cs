using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What each operation costs, counted by the server itself.</summary>
public abstract partial class TableRequestTests(SharedEtcd etcd)
{
    [Fact]
    public async Task Heartbeat_IsOnePut()
    {
        await using var cluster = await FilledAsync();
        var ranges = await RangesAsync();
        Assert.Equal("Put=1", await CountAsync(() => cluster.First.UpdateIAmAliveAsync(Silos.Entry(1))));
        // Nor does etcd look anything up for it.
        Assert.Equal(ranges, await RangesAsync());
    }

    [Fact]
    public async Task InsertAndUpdate_AreOneTransaction()
    {
        await using var cluster = await FilledAsync();
        var read = await cluster.First.ReadRowAsync(Silos.Address(1));
        Assert.Equal("Txn=1", await CountAsync(() => cluster.First.UpdateRowAsync(Silos.Entry(1), read.Members[0].Item2, read.Version.Next())));
        var version = (await cluster.First.ReadAllAsync()).Version;
        Assert.Equal("Txn=1", await CountAsync(() => cluster.First.InsertRowAsync(Silos.Entry(99), version.Next())));
    }

    [Fact]
    public async Task ReadAll_IsOneRequest_AndReadsNoRowWhereNothingChanged()
    {
        await using var cluster = await FilledAsync();
        await cluster.First.ReadAllAsync();
        var keysBefore = await RangesAsync();
        Assert.Equal("Txn=1", await CountAsync(() => cluster.First.ReadAllAsync()));
        // The one key is the version, which etcd looks up to compare it.
        Assert.Equal(keysBefore + 1, await RangesAsync());

        await cluster.Second.InsertAsync(Silos.Entry(50));
        Assert.Equal("Txn=1", await CountAsync(async () => Assert.Equal(6, (await cluster.First.ReadAllAsync()).Members.Count)));
        Assert.Equal("Txn=1", await CountAsync(() => cluster.First.ReadRowAsync(Silos.Address(1))));
    }

    /// <summary>As a silo at rest does: Orleans reads once a minute, and heartbeats are to be younger.</summary>
    [Fact]
    public async Task ReadAll_WithNoHeartbeatsThatAreYoungEnough_ReadsThem_AndNoRowThatTheWatchShows()
    {
        await using var cluster = await FilledAsync(heartbeatAge: TimeSpan.Zero);
        await cluster.First.ReadAllAsync();
        await cluster.First.View.WaitAsync(view => view.Values.Count == 6, CancellationToken.None);
        for (var round = 1; round <= 3; round++)
        {
            var alive = Silos.Epoch.AddMinutes(round);
            await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(2, alive: alive));
            var keysBefore = await RangesAsync();
            Assert.Equal("Txn=1", await CountAsync(async () =>
            {
                var read = await cluster.First.ReadAllAsync();
                Assert.Equal(5, read.Members.Count);
                Assert.Equal(alive, read.Members.Single(member => member.Item1.SiloAddress.Equals(Silos.Address(2))).Item1.IAmAliveTime);
            }));
            // The version, which is compared, and the range of the heartbeats.
            Assert.Equal(keysBefore + 2, await RangesAsync());
        }

        // Of a table that has changed the watch brings the rows.
        await cluster.Second.InsertAsync(Silos.Entry(50));
        Assert.Equal("Txn=1", await CountAsync(async () => Assert.Equal(6, (await cluster.First.ReadAllAsync()).Members.Count)));
    }

    [Fact]
    public async Task ReadAll_WithoutAWatch_FindsWhatWasWrittenPastTheVersion_WithTheNextHeartbeats()
    {
        await using var cluster = await FilledAsync(heartbeatAge: TimeSpan.FromMilliseconds(300));
        var unwatched = cluster.Table(cluster.Etcd, heartbeatAge: TimeSpan.FromMilliseconds(300));
        Assert.Equal(5, (await unwatched.ReadAllAsync()).Members.Count);
        await cluster.Etcd.DeleteAsync(cluster.First.Layout.RowKey(Silos.Address(3)).ToStringUtf8());
        await Task.Delay(350);
        Assert.Equal(4, (await unwatched.ReadAllAsync()).Members.Count);
    }

    [Fact]
    public async Task GetGateways_IsNoRequest()
    {
        await using var cluster = await FilledAsync();
        await using var gateways = new EtcdGatewayListProvider(
            cluster.Etcd, Microsoft.Extensions.Options.Options.Create(cluster.Options), Microsoft.Extensions.Options.Options.Create(new GatewayOptions()), NullLogger<EtcdGatewayListProvider>.Instance);
        await gateways.InitializeGatewayListProviderAsync();
        Assert.Equal(5, (await gateways.GetGatewaysAsync()).Count);
        await WatchesAsync(3);
        Assert.Equal("", await CountAsync(async () =>
        {
            for (var i = 0; i < 100; i++)
                await gateways.GetGatewaysAsync();
        }));
    }

    private async Task<Cluster> FilledAsync(TimeSpan? heartbeatAge = null)
    {
        var cluster = await Cluster.CreateAsync(etcd, heartbeatAge: heartbeatAge);
        await cluster.First.InsertAsync([.. Enumerable.Range(1, 5).Select(i => Silos.Entry(i))]);
        // Each table's watch has read what there is: none does so while something is counted.
        await cluster.First.View.FirstAsync(CancellationToken.None);
        await cluster.Second.View.FirstAsync(CancellationToken.None);
        await WatchesAsync(2);
        return cluster;
    }

    /// <summary>Waits until so many watches are open on the server.</summary>
    private Task WatchesAsync(int count) =>
        Eventually.IsTrueAsync(async () => await Metrics.ReadAsync(etcd.Server, "etcd_debugging_mvcc_watcher_total", "") == count, $"{count} watches are open");

    private async Task<string> CountAsync(Func<Task> operation)
    {
        var before = await etcd.Server.HandledAsync();
        await operation();
        var after = await etcd.Server.HandledAsync();
        return string.Join(" ", after.Where(method => method.Value > before.GetValueOrDefault(method.Key)).Select(method => $"{method.Key}={method.Value - before.GetValueOrDefault(method.Key)}"));
    }

    private async Task<long> RangesAsync() => long.Parse(Ranges().Match(await etcd.Server.GetMetricsAsync()).Groups[1].Value, CultureInfo.InvariantCulture);

    [GeneratedRegex("""^etcd_(?:debugging_)?mvcc_range_total (\d+)""", RegexOptions.Multiline)]
    private static partial Regex Ranges();
}

public sealed class TableRequestsOn34(SharedEtcd34 etcd) : TableRequestTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableRequestsOn35(SharedEtcd35 etcd) : TableRequestTests(etcd), IClassFixture<SharedEtcd35>;
