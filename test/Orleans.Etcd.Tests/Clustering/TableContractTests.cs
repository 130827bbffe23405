using System.Net;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>The guarantees that Orleans asks of a membership table, one by one.</summary>
public abstract class TableContractTests(SharedEtcd etcd)
{
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
        entry.SuspectTimes =
        [
            Tuple.Create(Silos.Address(7), new DateTime(636_000_000_000_000_007, DateTimeKind.Utc)),
            Tuple.Create(SiloAddress.New(IPAddress.Parse("fe80::1%4"), 5, int.MaxValue), DateTime.MinValue),
            Tuple.Create(Silos.Address(7), DateTime.MaxValue),
        ];
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
    [InlineData(DateTimeKind.Utc)]
    [InlineData(DateTimeKind.Unspecified)]
    public async Task Times_KeepEveryTick(DateTimeKind kind)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1);
        foreach (var ticks in new[] { 0, 1, 638_000_000_000_000_001, DateTime.MaxValue.Ticks })
        {
            (entry.SiloAddress, entry.StartTime, entry.IAmAliveTime) = (Silos.Address(1, entry.SiloAddress.Generation + 1), new DateTime(ticks, kind), new DateTime(ticks, kind));
            await cluster.First.InsertAsync(entry);
            var read = (await cluster.Second.ReadRowAsync(entry.SiloAddress)).Members.Single().Item1;
            Assert.Equal((ticks, ticks), (read.StartTime.Ticks, read.IAmAliveTime.Ticks));
            await cluster.First.UpdateIAmAliveAsync(entry);
            Assert.Equal(ticks, (await cluster.Second.ReadRowAsync(entry.SiloAddress)).Members.Single().Item1.IAmAliveTime.Ticks);
        }
    }

    [Fact]
    public async Task NoVotes_AreNotTheSameAsNullVotes()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var (none, empty) = (Silos.Entry(1), Silos.Entry(2));
        none.SuspectTimes = null;
        await cluster.First.InsertAsync(none, empty);
        Assert.Null((await cluster.Second.ReadRowAsync(Silos.Address(1))).Members.Single().Item1.SuspectTimes);
        Assert.Empty((await cluster.Second.ReadRowAsync(Silos.Address(2))).Members.Single().Item1.SuspectTimes!);
    }

    [Theory]
    [InlineData(SiloStatus.None)]
    [InlineData(SiloStatus.Created)]
    [InlineData(SiloStatus.Joining)]
    [InlineData(SiloStatus.Active)]
    [InlineData(SiloStatus.ShuttingDown)]
    [InlineData(SiloStatus.Stopping)]
    [InlineData(SiloStatus.Dead)]
    public async Task Status_IsReadBack(SiloStatus status)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1, status));
        Assert.Equal(status, (await cluster.Second.ReadAllAsync()).Members.Single().Item1.Status);
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
    public async Task Deletion_TakesThisClusterOnly()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var other = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await other.First.InsertAsync(Silos.Entry(1));
        await other.First.UpdateIAmAliveAsync(Silos.Entry(1));
        var untouched = await other.RawAsync();

        var own = await cluster.RawAsync();
        foreach (var id in new[] { other.Options.ClusterId, "", "nobody", null, cluster.Options.ClusterId.ToUpperInvariant(), cluster.Options.ClusterId + " " })
            await Assert.ThrowsAsync<ArgumentException>(() => cluster.First.DeleteMembershipTableEntriesAsync(id!));
        Assert.Equal(own, await cluster.RawAsync());
        Assert.Equal(untouched, await other.RawAsync());
        await cluster.First.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);

        Assert.Empty(await cluster.RawAsync());
        Assert.Equal(untouched, await other.RawAsync());
        Assert.Empty((await cluster.Second.ReadAllAsync()).Members);
        await cluster.Second.InitializeMembershipTableAsync(true);
        await cluster.Second.InsertAsync(Silos.Entry(2));
        Assert.Single((await cluster.First.ReadAllAsync()).Members);
    }

    [Fact]
    public async Task RowOverEtcdsLimit_IsRefusedBeforeAnythingIsWritten_AndOneBelowIsNot()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var before = await cluster.RawAsync();
        var version = (await cluster.First.ReadAllAsync()).Version;
        var entry = Silos.Entry(1);
        entry.SiloName = new string('x', 2_000_000);
        var refused = await Assert.ThrowsAsync<ArgumentException>(() => cluster.First.InsertRowAsync(entry, version.Next()));
        Assert.Contains("SiloName", refused.Message, StringComparison.Ordinal);
        Assert.Equal(before, await cluster.RawAsync());

        // As large as may be: what is accepted is also stored and read.
        entry.SiloName = new string('x', 1_399_000);
        Assert.True(await cluster.First.InsertRowAsync(entry, version.Next()));
        Assert.Equal(entry.SiloName, (await cluster.Second.ReadAllAsync()).Members.Single().Item1.SiloName);
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
