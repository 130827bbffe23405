using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Clusters on one etcd never see each other, whatever their ids look like.</summary>
public abstract class TableIsolationTests(SharedEtcd etcd)
{
    public static TheoryData<string, string, string, string> Neighbours => new()
    {
        { "s", "prod", "s", "prod-eu" },
        { "s", "prod", "s", "prod/" },
        { "s", "prod", "s", "prod/membership" },
        { "s", "a/b", "s/a", "b" },
        { "s", "a/b", "s", "a%2Fb" },
        { "s", "100%", "s", "100%25" },
        { "s", "a b", "s", "a" },
        { "s", "a b", "s", "a%20b" },
        { "s", "größe 集群", "s", "größe" },
        { "s", "..", "s", "." },
        { "s", "x\ny", "s", "x" },
        { "s", "prod", "s2", "prod" },
    };

    [Theory]
    [MemberData(nameof(Neighbours))]
    public async Task NeighbouringIds_DoNotSeeEachOther(string service, string cluster, string otherService, string otherCluster)
    {
        var run = Guid.NewGuid().ToString("N");
        await using var one = await Cluster.CreateAsync(etcd, cluster, run + service);
        await using var other = await Cluster.CreateAsync(etcd, otherCluster, run + otherService);
        await one.First.InsertAsync(Silos.Entry(1));
        await one.First.InsertAsync(Silos.Entry(9, SiloStatus.Dead));
        await one.First.UpdateIAmAliveAsync(Silos.Entry(1));
        // One that a cleanup of this cluster would remove.
        await one.First.UpdateIAmAliveAsync(Silos.Entry(5));
        var untouched = await one.RawAsync();
        Assert.Empty((await other.First.ReadAllAsync()).Members);
        Assert.Equal(0, (await other.First.ReadAllAsync()).Version.Version);
        await other.First.InsertAsync(Silos.Entry(2, SiloStatus.Dead));
        await other.First.UpdateIAmAliveAsync(Silos.Entry(1));
        await other.First.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue);
        await other.First.InsertAsync(Silos.Entry(3));
        await other.First.DeleteMembershipTableEntriesAsync(otherCluster);
        Assert.Empty(await other.RawAsync());
        Assert.Equal(untouched, await one.RawAsync());
        Assert.Equal(["silo-1", "silo-9"], (await one.Second.ReadAllAsync()).Members.Select(member => member.Item1.SiloName).Order());
    }

    [Fact]
    public async Task LongestIds_Work()
    {
        // Three bytes a character, or three characters: the longest keys there can be.
        await using var cluster = await Cluster.CreateAsync(etcd, new string('集', EtcdKeys.MaxSegmentLength), new string('%', EtcdKeys.MaxSegmentLength));
        await cluster.First.InsertAsync(Silos.Entry(1));
        Assert.Single((await cluster.Second.ReadAllAsync()).Members);
        await cluster.Second.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);
        Assert.Empty(await cluster.RawAsync());
    }

    [Fact]
    public Task UnusableIds_AreRefused() => NothingIsWrittenAsync(cluster =>
    {
        // Half a surrogate pair has no UTF-8; an attribute could not even carry it here.
        foreach (var (service, id) in new[] { ("", "c"), ("s", ""), ("s", new string('\ud800', 1)), (new string('\udc00', 1), "c") })
            Assert.ThrowsAny<ArgumentException>(() => Table(cluster, service, id));
    });

    [Fact]
    public Task IdsOverTheLimit_AreRefusedByName() => NothingIsWrittenAsync(cluster =>
    {
        foreach (var length in new[] { EtcdKeys.MaxSegmentLength + 1, 2_000_000 })
        {
            var id = new string('x', length);
            foreach (var (refused, name) in new[] { (Assert.Throws<ArgumentException>(() => Table(cluster, "s", id)), "clusterId"), (Assert.Throws<ArgumentException>(() => Table(cluster, id, "c")), "serviceId") })
            {
                Assert.Contains(name, refused.Message, StringComparison.Ordinal);
                Assert.Contains($"{length}", refused.Message, StringComparison.Ordinal);
                Assert.Contains($"{EtcdKeys.MaxSegmentLength}", refused.Message, StringComparison.Ordinal);
                Assert.True(refused.Message.Length < 500, "the id itself is not repeated");
            }
        }
    });

    private static void Table(Cluster cluster, string serviceId, string clusterId)
    {
        using var table = cluster.Etcd.Table(new ClusterOptions { ServiceId = serviceId, ClusterId = clusterId });
    }

    private async Task NothingIsWrittenAsync(Action<Cluster> attempt)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var before = await etcd.Server.GetRevisionAsync();
        attempt(cluster);
        Assert.Equal(before, await etcd.Server.GetRevisionAsync());
    }
}

public sealed class TableIsolationOn34(SharedEtcd34 etcd) : TableIsolationTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableIsolationOn35(SharedEtcd35 etcd) : TableIsolationTests(etcd), IClassFixture<SharedEtcd35>;
