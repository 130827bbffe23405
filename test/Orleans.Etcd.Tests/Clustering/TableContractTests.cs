using System.Net;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>The guarantees that Orleans asks of a membership table, one by one.</summary>
public abstract class TableContractTests(SharedEtcd etcd)
{
    [Fact]
    public async Task Writes_EachRaisesTheVersionByExactlyOne()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var versions = new List<int> { (await cluster.First.ReadAllAsync()).Version.Version };
        for (var i = 0; i < 3; i++)
        {
            await cluster.First.InsertAsync(Silos.Entry(i));
            versions.Add((await cluster.Second.ReadAllAsync()).Version.Version);
            var read = await cluster.Second.ReadRowAsync(Silos.Address(i));
            Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(i, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
            versions.Add((await cluster.First.ReadAllAsync()).Version.Version);
        }

        Assert.Equal(Enumerable.Range(versions[0], versions.Count), versions);
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(0));
        Assert.Equal(versions[^1], (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task EveryField_ComesBackAsWritten()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1, SiloStatus.Joining, new DateTime(638_000_000_000_000_123, DateTimeKind.Utc));
        entry.SiloName = "näme with \"quotes\"\n";
        entry.RoleName = null;
        entry.UpdateZone = 3;
        entry.FaultZone = 4;
        entry.StartTime = new DateTime(637_000_000_000_000_001, DateTimeKind.Utc);
        entry.SuspectTimes = [Tuple.Create(Silos.Address(7), new DateTime(636_000_000_000_000_007, DateTimeKind.Utc))];
        await cluster.First.InsertAsync(entry);

        var read = (await cluster.Second.ReadAllAsync()).Members.Single().Item1;
        Assert.Equal(entry.ToFullString(), read.ToFullString());
        Assert.Equal(
            (entry.SiloName, entry.RoleName, entry.UpdateZone, entry.FaultZone, entry.ProxyPort, entry.StartTime, entry.IAmAliveTime),
            (read.SiloName, read.RoleName, read.UpdateZone, read.FaultZone, read.ProxyPort, read.StartTime, read.IAmAliveTime));
        Assert.Equal(entry.SuspectTimes, read.SuspectTimes);
        Assert.Equal(DateTimeKind.Utc, read.StartTime.Kind);
    }

    [Theory]
    [InlineData("::1")]
    [InlineData("fe80::1%4")]
    public async Task IPv6Silo_IsReadBack(string address)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1);
        entry.SiloAddress = SiloAddress.New(IPAddress.Parse(address), 11111, 42);
        await cluster.First.InsertAsync(entry);
        Assert.Equal(entry.SiloAddress, (await cluster.Second.ReadAllAsync()).Members.Single().Item1.SiloAddress);
        Assert.Equal(entry.SiloAddress, (await cluster.Second.ReadRowAsync(entry.SiloAddress)).Members.Single().Item1.SiloAddress);
    }

    [Fact]
    public async Task StaleOrForeignTokens_AnswerFalseAndChangeNothing()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var stale = await cluster.First.ReadRowAsync(Silos.Address(1));
        await cluster.First.InsertAsync(Silos.Entry(2));
        var fresh = await cluster.First.ReadRowAsync(Silos.Address(1));
        var before = await cluster.RawAsync();

        Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), fresh.Members[0].Item2, stale.Version.Next()));
        Assert.False(await cluster.Second.InsertRowAsync(Silos.Entry(3), stale.Version.Next()));
        foreach (var etag in new[] { "0", "1", "-1", " ", "", "x", "99999999999999999999", null })
            Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), etag!, fresh.Version.Next()));
        foreach (var etag in new[] { "0", "1", "", "x", null })
        {
            Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), fresh.Members[0].Item2, new TableVersion(9, etag!)));
            Assert.False(await cluster.Second.InsertRowAsync(Silos.Entry(3), new TableVersion(9, etag!)));
        }

        Assert.Equal(before, await cluster.RawAsync());
    }

    [Fact]
    public async Task StaleRowToken_WithTheRightVersion_AnswersFalse()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var old = (await cluster.First.ReadRowAsync(Silos.Address(1))).Members[0].Item2;
        var read = await cluster.First.ReadAllAsync();
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), old, read.Version.Next()));
        var version = (await cluster.First.ReadAllAsync()).Version;
        Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), old, version.Next()));
        Assert.Equal(SiloStatus.ShuttingDown, (await cluster.First.ReadAllAsync()).Members.Single().Item1.Status);
    }

    [Fact]
    public async Task DuplicateAndMissingIdentity_AnswerFalse()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var before = await cluster.RawAsync();
        var version = (await cluster.Second.ReadAllAsync()).Version;
        Assert.False(await cluster.Second.InsertRowAsync(Silos.Entry(1, SiloStatus.Dead), version.Next()));
        Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(2), "0", version.Next()));
        Assert.False(await cluster.Second.UpdateRowAsync(Silos.Entry(2), version.VersionEtag, version.Next()));
        Assert.Equal(before, await cluster.RawAsync());
    }

    [Fact]
    public async Task TokensTakenBeforeAHeartbeat_StillCommit()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var read = await cluster.First.ReadAllAsync();
        await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddMinutes(1)));
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), read.Members[0].Item2, read.Version.Next()));
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

    [Fact]
    public async Task ReadAll_ShowsAHeartbeat_NoLaterThanOnePublishPeriod()
    {
        var period = TimeSpan.FromMilliseconds(300);
        await using var cluster = await Cluster.CreateAsync(etcd, heartbeatAge: period);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await cluster.First.ReadAllAsync();
        await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddHours(1)));
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (true)
        {
            var asked = clock.Elapsed;
            if ((await cluster.First.ReadAllAsync()).Members[0].Item1.IAmAliveTime == Silos.Epoch.AddHours(1))
                return;
            Assert.True(asked <= period, $"still old {asked} after the heartbeat");
        }
    }

    [Fact]
    public async Task ReadRowAndReadAll_Agree()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        Assert.Equal((await cluster.First.ReadAllAsync()).Describe(), (await cluster.Second.ReadRowAsync(Silos.Address(1))).Describe());
        await cluster.First.InitializeMembershipTableAsync(true);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        var all = await cluster.First.ReadAllAsync();
        foreach (var member in all.Members)
        {
            var row = await cluster.Second.ReadRowAsync(member.Item1.SiloAddress);
            Assert.Equal(new MembershipTableData(member, all.Version).Describe(), row.Describe());
        }

        var absent = await cluster.Second.ReadRowAsync(Silos.Address(9));
        Assert.Empty(absent.Members);
        Assert.Equal(all.Version, absent.Version);
    }

    [Fact]
    public async Task Initialisation_Repeated_KeepsData()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        await Task.WhenAll(Enumerable.Range(0, 20).Select(i => (i % 2 == 0 ? cluster.First : cluster.Second).InitializeMembershipTableAsync(true)));
        Assert.Equal(0, (await cluster.First.ReadAllAsync()).Version.Version);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var before = await cluster.RawAsync();
        await cluster.Second.InitializeMembershipTableAsync(true);
        await cluster.Second.InitializeMembershipTableAsync(false);
        Assert.Equal(before, await cluster.RawAsync());
    }

    [Fact]
    public async Task InputsAndOutputs_AreNobodyElses()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1);
        await cluster.First.InsertAsync(entry);
        var expected = (await cluster.Second.ReadAllAsync()).Describe();
        Spoil(entry);
        Assert.Equal(expected, (await cluster.First.ReadAllAsync()).Describe());
        for (var i = 0; i < 3; i++)
        {
            // The second read is served from what is known, and so are those after it.
            Spoil((await cluster.First.ReadAllAsync()).Members[0].Item1);
            Spoil((await cluster.First.ReadRowAsync(Silos.Address(1))).Members[0].Item1);
            Assert.Equal(expected, (await cluster.First.ReadAllAsync()).Describe());
        }

        static void Spoil(MembershipEntry entry)
        {
            entry.Status = SiloStatus.Dead;
            entry.SiloName = "spoilt";
            (entry.SuspectTimes ??= []).Add(Tuple.Create(Silos.Address(66), DateTime.UtcNow));
        }
    }

    [Fact]
    public async Task Deletion_TakesThisClusterOnly()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var other = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await other.First.InsertAsync(Silos.Entry(1));
        await other.First.UpdateIAmAliveAsync(Silos.Entry(1));
        var untouched = await other.RawAsync();

        foreach (var id in new[] { other.Options.ClusterId, "", "nobody", null })
            await Assert.ThrowsAsync<ArgumentException>(() => cluster.First.DeleteMembershipTableEntriesAsync(id!));
        Assert.NotEmpty(await cluster.RawAsync());
        await cluster.First.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);

        Assert.Empty(await cluster.RawAsync());
        Assert.Equal(untouched, await other.RawAsync());
        Assert.Empty((await cluster.Second.ReadAllAsync()).Members);
        await cluster.Second.InitializeMembershipTableAsync(true);
        await cluster.Second.InsertAsync(Silos.Entry(2));
        Assert.Single((await cluster.First.ReadAllAsync()).Members);
    }

    [Fact]
    public async Task RowOverEtcdsLimit_IsRefusedBeforeAnythingIsWritten()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var before = await cluster.RawAsync();
        var version = (await cluster.First.ReadAllAsync()).Version;
        var entry = Silos.Entry(1);
        entry.SiloName = new string('x', 2_000_000);
        var refused = await Assert.ThrowsAsync<ArgumentException>(() => cluster.First.InsertRowAsync(entry, version.Next()));
        Assert.Contains("SiloName", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await cluster.RawAsync());
    }

    [Fact]
    public async Task TokenlessMethods_DoTheSame()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        IMembershipTable table = cluster.First;
#pragma warning disable CS0618 // The older methods are what is tested.
        await table.InitializeMembershipTable(true);
        Assert.True(await table.InsertRow(Silos.Entry(1), (await table.ReadAll()).Version.Next()));
        var read = await table.ReadRow(Silos.Address(1));
        Assert.True(await table.UpdateRow(Silos.Entry(1, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        await table.UpdateIAmAlive(Silos.Entry(1));
        await table.CleanupDefunctSiloEntries(DateTimeOffset.MaxValue);
        Assert.Empty((await table.ReadAll()).Members);
        await table.DeleteMembershipTableEntries(cluster.Options.ClusterId);
#pragma warning restore CS0618
        Assert.Empty(await cluster.RawAsync());
    }
}

public sealed class TableContractOn34(SharedEtcd34 etcd) : TableContractTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableContractOn35(SharedEtcd35 etcd) : TableContractTests(etcd), IClassFixture<SharedEtcd35>;
