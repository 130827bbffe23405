using System.Diagnostics;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Heartbeats have keys of their own, and the keys are where other tools look for them.</summary>
public abstract class TableHeartbeatTests(SharedEtcd etcd)
{
    [Fact]
    public async Task Keys_AreThoseOfTheDesign()
    {
        var id = $"c-{Guid.NewGuid():N}";
        await using var cluster = await Cluster.CreateAsync(etcd, id);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1));
        Assert.Equal(
            [$"orleans/service/{id}/alive/127.0.0.1:10001@1", $"orleans/service/{id}/membership/silos/127.0.0.1:10001@1", $"orleans/service/{id}/membership/version"],
            (await cluster.RawAsync()).Select(kv => kv.Key.ToStringUtf8()));
    }

    [Fact]
    public async Task Heartbeat_TouchesNothingButItsOwnKey()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(2));
        await using var watched = new LiveView(cluster.Etcd, cluster.Layout.Prefix);
        var seen = await watched.WaitAsync(_ => true, CancellationToken.None);
        var before = await cluster.RawAsync();

        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1));

        var own = cluster.Layout.AliveKey(Silos.Address(1));
        Assert.Equal(before, (await cluster.RawAsync()).Where(kv => !kv.Key.Equals(own)));
        Assert.Equal(before.Count + 1, (await cluster.RawAsync()).Count);
        // The next that the watch hears of is the next write of a row.
        await cluster.First.InsertAsync(Silos.Entry(3));
        var next = await watched.WaitAsync(snapshot => snapshot != seen, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Contains(cluster.Layout.RowKey(Silos.Address(3)), next.Values.Keys);
    }

    [Fact]
    public async Task HeartbeatOfAnUnknownSilo_MakesNoRow()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1));
        Assert.Empty((await cluster.Second.ReadAllAsync()).Members);
        Assert.Empty((await cluster.Second.ReadRowAsync(Silos.Address(1))).Members);
        // Nor does what was there before the row say anything of it.
        await cluster.First.InsertAsync(Silos.Entry(1, alive: Silos.Epoch.AddMinutes(-9)));
        Assert.Equal(Silos.Epoch.AddMinutes(-9), (await cluster.Second.ReadRowAsync(Silos.Address(1))).Members.Single().Item1.IAmAliveTime);
    }

    [Fact]
    public async Task Heartbeat_TheLaterWriteWins_AndNothingElseChanges()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var before = await cluster.First.ReadRowAsync(Silos.Address(1));
        // Earlier than the row says, as after a clock was set back: it is what the silo last said.
        foreach (var minutes in new[] { 5, -5 })
        {
            await cluster.First.UpdateIAmAliveAsync(new MembershipEntry { SiloAddress = Silos.Address(1), IAmAliveTime = Silos.Epoch.AddMinutes(minutes) });
            var read = await cluster.Second.ReadRowAsync(Silos.Address(1));
            Assert.Equal(Silos.Epoch.AddMinutes(minutes), read.Members[0].Item1.IAmAliveTime);
            Assert.Equal(before.Members[0].Item2, read.Members[0].Item2);
            Assert.Equal(before.Version, read.Version);
            Assert.Equal("silo-1", read.Members[0].Item1.SiloName);
        }

        var later = Silos.Entry(1, alive: Silos.Epoch.AddMinutes(1));
        Assert.True(await cluster.First.UpdateRowAsync(later, before.Members[0].Item2, before.Version.Next()));
        Assert.Equal(later.IAmAliveTime, (await cluster.Second.ReadRowAsync(Silos.Address(1))).Members[0].Item1.IAmAliveTime);
    }

    /// <summary>Who votes against a silo writes its row back, with the time that it had read, and a heartbeat may have come since.</summary>
    [Fact]
    public async Task Heartbeat_FollowedByAWriteOfAnotherThatHadNotSeenIt_IsNotLost()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var read = (await cluster.Second.ReadAllAsync()).Members[0];
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddMinutes(1)));
        read.Item1.SuspectTimes = [Tuple.Create(Silos.Address(2), Silos.Epoch)];
        Assert.True(await cluster.Second.UpdateRowAsync(read.Item1, read.Item2, (await cluster.Second.ReadAllAsync()).Version.Next()));
        var fresh = cluster.Table(cluster.Etcd);
        foreach (var entry in new[] { (await fresh.ReadAllAsync()).Members[0].Item1, (await fresh.ReadRowAsync(Silos.Address(1))).Members[0].Item1 })
        {
            Assert.Equal(Silos.Epoch.AddMinutes(1), entry.IAmAliveTime);
            Assert.Single(entry.SuspectTimes!);
        }
    }

    [Fact]
    public async Task ReadAll_ShowsAHeartbeat_NoLaterThanOnePublishPeriod()
    {
        var period = TimeSpan.FromMilliseconds(300);
        await using var cluster = await Cluster.CreateAsync(etcd, heartbeatAge: period);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await cluster.First.ReadAllAsync();
        await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddHours(1)));
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var asked = clock.Elapsed;
            if ((await cluster.First.ReadAllAsync()).Members[0].Item1.IAmAliveTime == Silos.Epoch.AddHours(1))
                return;
            Assert.True(asked <= period, $"still old {asked} after the heartbeat");
        }
    }
}

public sealed class TableHeartbeatOn34(SharedEtcd34 etcd) : TableHeartbeatTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableHeartbeatOn35(SharedEtcd35 etcd) : TableHeartbeatTests(etcd), IClassFixture<SharedEtcd35>;
