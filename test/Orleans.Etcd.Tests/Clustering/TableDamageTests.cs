using Etcdserverpb;
using Google.Protobuf;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Values that somebody else wrote or damaged are skipped, told of, counted, and never take the cluster down.</summary>
public abstract class TableDamageTests(SharedEtcd etcd)
{
    public static TheoryData<string, string> Damage => new()
    {
        { "not JSON", "hello" },
        { "empty", "" },
        { "null", "null" },
        { "an array", "[]" },
        { "too deep", new string('[', 5000) },
        { "half a row", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Act""" },
        { "no address", """{"Status":"Active"}""" },
        { "bad address", """{"SiloAddress":"nowhere","Status":"Active"}""" },
        { "null for an address", """{"SiloAddress":null,"Status":"Active"}""" },
        { "a port out of range", """{"SiloAddress":"127.0.0.1:99999@1","Status":"Active"}""" },
        { "signs only", """{"SiloAddress":":@","Status":"Active"}""" },
        { "a huge address", $$"""{"SiloAddress":"{{new string('1', 5000)}}:1@1","Status":"Active"}""" },
        { "another silo's", """{"SiloAddress":"127.0.0.1:1@1","Status":"Active"}""" },
        { "a status of a later version", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Hibernating"}""" },
        { "a status out of range", """{"SiloAddress":"127.0.0.1:10002@1","Status":77}""" },
        { "a time that is none", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","StartTime":"yesterday"}""" },
        { "null for a voter", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SuspectTimes":[{"Silo":null}]}""" },
        { "null for a vote", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SuspectTimes":[null]}""" },
        { "a bad vote", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SuspectTimes":[{"Silo":"x","Time":"2026-01-01T00:00:00Z"}]}""" },
    };

    [Theory]
    [MemberData(nameof(Damage))]
    public Task DamagedRow_IsSkippedLoggedAndCounted(string what, string value)
    {
        Assert.NotEmpty(what);
        return SkipsAsync(ByteString.CopyFromUtf8(value));
    }

    [Fact]
    public Task RowThatIsNotUtf8_IsSkippedLoggedAndCounted() =>
        SkipsAsync(ByteString.CopyFrom([.. """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SiloName":"x"""u8, 0xff, 0xc0, .. "\"}"u8]));

    private async Task SkipsAsync(ByteString value)
    {
        var log = new Warnings();
        await using var cluster = await Cluster.CreateAsync(etcd, logger: log);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        using var counter = new MeterTotal("orleans.etcd.values.unreadable");
        var key = cluster.Layout.RowKey(Silos.Address(2));
        await cluster.Etcd.PutAsync(new PutRequest { Key = key, Value = value });

        var fresh = cluster.Table(cluster.Etcd, log);
        for (var i = 0; i < 3; i++)
            Assert.Equal("silo-1", (await fresh.ReadAllAsync()).Members.Single().Item1.SiloName);
        Assert.Empty((await fresh.ReadRowAsync(Silos.Address(2))).Members);
        Assert.Single(log.Lines, line => line.Contains(key.ToStringUtf8(), StringComparison.Ordinal));
        // Once by ReadRow, and by ReadAll once: an unchanged table is not decoded again.
        Assert.Equal(2, counter.Total);
        await fresh.InsertAsync(Silos.Entry(3));
        await fresh.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue);
        Assert.Equal(2, (await fresh.ReadAllAsync()).Members.Count);
    }

    [Fact]
    public async Task RowOfALaterVersion_WithMoreFields_IsRead()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var key = cluster.Layout.RowKey(Silos.Address(2)).ToStringUtf8();
        await cluster.Etcd.PutAsync(key, """{"New":{"a":[1]},"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SiloName":"later","Other":null}""");
        Assert.Equal("later", (await cluster.First.ReadAllAsync()).Members.Single().Item1.SiloName);
    }

    [Fact]
    public async Task ForeignKeysUnderThePrefix_AreNoRows()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        foreach (var key in new[] { "notes", "silos", "silos/", "silos/x", "silos/127.0.0.1:10001@1/x", "version/x" })
            await cluster.Etcd.PutAsync(cluster.Layout.Prefix + key, """{"SiloAddress":"127.0.0.1:10001@1","Status":"Dead"}""");
        await using var later = await Cluster.CreateAsync(etcd, cluster.Options.ClusterId);
        Assert.Equal(SiloStatus.Active, (await later.First.ReadAllAsync()).Members.Single().Item1.Status);
        await later.First.InsertAsync(Silos.Entry(2));
    }

    [Fact]
    public async Task KeysThatAreNotUtf8_AreNoRows()
    {
        var log = new Warnings();
        await using var cluster = await Cluster.CreateAsync(etcd, logger: log);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await cluster.Etcd.PutAsync(new PutRequest { Key = ByteString.CopyFrom([.. cluster.Layout.SilosPrefix.Span, 0xff, 0x00]), Value = ByteString.CopyFromUtf8("x") });
        var fresh = cluster.Table(cluster.Etcd, log);
        Assert.Single((await fresh.ReadAllAsync()).Members);
        Assert.Single(log.Lines);
    }

    [Fact]
    public async Task DamagedHeartbeat_IsLoggedOnce_AndTheRowsOwnTimeStands()
    {
        var log = new Warnings();
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var key = cluster.Layout.AliveKey(Silos.Address(1)).ToStringUtf8();
        await cluster.Etcd.PutAsync(key, "soon");
        using var counter = new MeterTotal("orleans.etcd.values.unreadable");
        var fresh = cluster.Table(cluster.Etcd, log, heartbeatAge: TimeSpan.Zero);
        for (var i = 0; i < 3; i++)
            Assert.Equal(Silos.Epoch, (await fresh.ReadAllAsync()).Members.Single().Item1.IAmAliveTime);
        Assert.Equal(Silos.Epoch, (await fresh.ReadRowAsync(Silos.Address(1))).Members.Single().Item1.IAmAliveTime);
        Assert.Single(log.Lines, line => line.Contains(key, StringComparison.Ordinal));
        Assert.Equal(4, counter.Total);
        await fresh.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddHours(1)));
        Assert.Equal(Silos.Epoch.AddHours(1), (await fresh.ReadAllAsync()).Members.Single().Item1.IAmAliveTime);
    }

    [Fact]
    public async Task DamagedVersion_IsLoggedOnceAndCounted()
    {
        var log = new Warnings();
        await using var cluster = await Cluster.CreateAsync(etcd);
        var key = cluster.Layout.VersionKey.ToStringUtf8();
        await cluster.Etcd.PutAsync(key, "garbage");
        using var counter = new MeterTotal("orleans.etcd.values.unreadable");
        var fresh = cluster.Table(cluster.Etcd, log);
        await fresh.ReadAllAsync();
        await fresh.ReadRowAsync(Silos.Address(1));
        Assert.Single(log.Lines, line => line.Contains(key, StringComparison.Ordinal));
        Assert.Equal(2, counter.Total);
    }

    [Fact]
    public async Task VersionDeleted_RowsThatCameSinceAreSeen()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        Assert.Empty((await cluster.First.ReadAllAsync()).Members);
        await cluster.Second.InsertAsync(Silos.Entry(1));
        await cluster.Etcd.DeleteAsync(cluster.Layout.VersionKey.ToStringUtf8());
        Assert.Single((await cluster.First.ReadAllAsync()).Members);
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("")]
    [InlineData("{}")]
    [InlineData("""{"Version":1}""")]
    [InlineData("""{"Version":-5}""")]
    [InlineData("""{"Version":99999999999}""")]
    [InlineData("""{"Version":2147483647}""")]
    public async Task DamagedVersion_DoesNotStopTheTable_AndNeverFalls(string value)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2), Silos.Entry(3));
        await cluster.Etcd.PutAsync(cluster.Layout.VersionKey.ToStringUtf8(), value);
        var damaged = (await cluster.Second.ReadAllAsync()).Version.Version;
        Assert.True(damaged >= 3, $"fell from 3 to {damaged}");
        Assert.Equal(damaged, (await cluster.First.ReadRowAsync(Silos.Address(1))).Version.Version);
        await cluster.Second.InsertAsync(Silos.Entry(4));
        Assert.Equal(damaged + 1, (await cluster.First.ReadAllAsync()).Version.Version);
        Assert.Equal(4, (await cluster.First.ReadAllAsync()).Members.Count);
    }
}

public sealed class TableDamageOn34(SharedEtcd34 etcd) : TableDamageTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableDamageOn35(SharedEtcd35 etcd) : TableDamageTests(etcd), IClassFixture<SharedEtcd35>;
