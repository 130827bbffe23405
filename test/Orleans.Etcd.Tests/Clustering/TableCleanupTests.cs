using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Rows of silos long dead are removed, and no others.</summary>
public abstract class TableCleanupTests(SharedEtcd etcd)
{
    private static readonly DateTimeOffset Cutoff = new(Silos.Epoch.AddDays(1));

    [Fact]
    public async Task Cutoff_IsExact_AndTheLatestOfStartHeartbeatAndVoteCounts()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var at = Cutoff.UtcDateTime;
        var before = at.AddTicks(-1);
        var rows = new[]
        {
            Dead(1, start: before, alive: before),
            Dead(2, start: at, alive: before),
            Dead(3, start: before, alive: at),
            Dead(4, start: before, alive: before, vote: at),
            Dead(5, start: before, alive: before),
            Dead(6, start: before, alive: before),
            Dead(7, start: before, alive: before),
        };
        rows[6].Status = SiloStatus.Active;
        await cluster.First.InsertAsync(rows);
        // The heartbeat has a key of its own, and counts all the same; also where the row was written after it.
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(6, alive: at));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(5, alive: at));
        var killed = await cluster.First.ReadRowAsync(Silos.Address(5));
        Assert.True(await cluster.First.UpdateRowAsync(Dead(5, start: before, alive: before), killed.Members[0].Item2, killed.Version.Next()));
        await cluster.First.InsertAsync(Dead(8, start: before, alive: before, vote: before));

        await cluster.Second.CleanupDefunctSiloEntriesAsync(Cutoff);

        var left = (await cluster.First.ReadAllAsync()).Members.Select(member => member.Item1.SiloName).Order();
        Assert.Equal(["silo-2", "silo-3", "silo-4", "silo-5", "silo-6", "silo-7"], left);
    }

    [Fact]
    public async Task OneStep_RaisesTheVersionByOne_AndTakesTheHeartbeatToo()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Dead(1), Dead(2), Silos.Entry(3));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1));
        var before = (await cluster.First.ReadAllAsync()).Version.Version;
        await cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff);
        Assert.Equal(before + 1, (await cluster.First.ReadAllAsync()).Version.Version);
        Assert.DoesNotContain(await cluster.RawAsync(), kv => kv.Key.ToStringUtf8().EndsWith(Silos.Address(1).ToParsableString(), StringComparison.Ordinal));
        await cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff);
        Assert.Equal(before + 1, (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task HeartbeatsWithoutARow_AreRemovedWhenOld()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1, alive: Cutoff.UtcDateTime.AddTicks(-1)));
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(2, alive: Cutoff.UtcDateTime));
        await cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff);
        var left = (await cluster.RawAsync()).Select(kv => kv.Key.ToStringUtf8()).Where(key => key.Contains("/alive/", StringComparison.Ordinal));
        Assert.EndsWith(Silos.Address(2).ToParsableString(), Assert.Single(left), StringComparison.Ordinal);
    }

    [Fact]
    public async Task TwoCleanersAndAWriter_On300Rows_EachStepIsOneVersion()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await InsertManyAsync(cluster, 300);
        await cluster.First.InsertAsync(Silos.Entry(1000));
        var before = (await cluster.First.ReadAllAsync()).Version.Version;
        var steps = 0;
        var cleaners = Task.WhenAll(cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff), cluster.Second.CleanupDefunctSiloEntriesAsync(Cutoff));
        do
        {
            var read = await cluster.Second.ReadAllAsync();
            var row = read.Members.Single(member => member.Item1.SiloName == "silo-1000");
            if (await cluster.Second.UpdateRowAsync(Silos.Entry(1000), row.Item2, read.Version.Next()))
                steps++;
        }
        while (!cleaners.IsCompleted);
        await cleaners;

        var after = await cluster.First.ReadAllAsync();
        Assert.Equal("silo-1000", Assert.Single(after.Members).Item1.SiloName);
        // 300 rows in steps of at most 60 are 5 steps; a step that lost the race left no version behind.
        Assert.Equal(before + steps + 5, after.Version.Version);
    }

    [Fact]
    public async Task LongestIds_FitInItsTransactions()
    {
        var longest = new string('漢', EtcdKeys.MaxSegmentLength);
        await using var cluster = await Cluster.CreateAsync(etcd, clusterId: longest, serviceId: longest, keyPrefix: new string('漢', 512));
        await InsertManyAsync(cluster, 61);
        await cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff);
        Assert.Empty((await cluster.Second.ReadAllAsync()).Members);
    }

    [Fact]
    public async Task UnreadableHeartbeat_DoesNotHoldItUp()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Dead(1));
        await cluster.Etcd.PutAsync(cluster.Layout.AliveKey(Silos.Address(1)).ToStringUtf8(), "garbage");
        await cluster.First.CleanupDefunctSiloEntriesAsync(Cutoff).WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Empty((await cluster.Second.ReadAllAsync()).Members);
    }

    internal static async Task InsertManyAsync(Cluster cluster, int count)
    {
        var version = (await cluster.First.ReadAllAsync()).Version;
        for (var i = 0; i < count; i++)
        {
            Assert.True(await cluster.First.InsertRowAsync(Dead(i), version.Next()));
            version = (await cluster.First.ReadRowAsync(Silos.Address(i))).Version;
        }
    }

    private static MembershipEntry Dead(int number, DateTime? start = null, DateTime? alive = null, DateTime? vote = null)
    {
        var entry = Silos.Entry(number, SiloStatus.Dead, alive);
        entry.StartTime = start ?? entry.StartTime;
        if (vote is { } time)
            entry.SuspectTimes = [Tuple.Create(Silos.Address(99), Silos.Epoch.AddYears(-1)), Tuple.Create(Silos.Address(98), time)];
        return entry;
    }
}

public sealed class TableCleanupOn34(SharedEtcd34 etcd) : TableCleanupTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableCleanupOn35(SharedEtcd35 etcd) : TableCleanupTests(etcd), IClassFixture<SharedEtcd35>;
