using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Clusters on one etcd never see each other, whatever their ids look like.</summary>
public sealed class TableIsolationTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    public static TheoryData<string, string, string, string> Neighbours => new()
    {
        { "s", "prod", "s", "prod-eu" },
        { "s", "prod", "s", "prod/" },
        { "s", "prod", "s", "prod/membership" },
        { "s", "a/b", "s/a", "b" },
        { "s", "a/b", "s", "a%2Fb" },
        { "s", "a b", "s", "a" },
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
        await one.First.UpdateIAmAliveAsync(Silos.Entry(1));
        Assert.Empty((await other.First.ReadAllAsync()).Members);
        Assert.Equal(0, (await other.First.ReadAllAsync()).Version.Version);
        await other.First.InsertAsync(Silos.Entry(2));
        await other.First.DeleteMembershipTableEntriesAsync(otherCluster);
        Assert.Equal("silo-1", (await one.Second.ReadAllAsync()).Members.Single().Item1.SiloName);
    }

    [Fact]
    public void UnusableIds_AreRefused()
    {
        // Half a surrogate pair has no UTF-8; an attribute could not even carry it here.
        foreach (var (service, cluster) in new[] { ("", "c"), ("s", ""), ("s", new string('\ud800', 1)), (new string('\udc00', 1), "c") })
            Assert.ThrowsAny<ArgumentException>(() => new MembershipLayout("orleans", new ClusterOptions { ServiceId = service, ClusterId = cluster }));
    }

    [Fact]
    public void IdsOverTheLimit_AreRefusedByName()
    {
        var refused = Assert.Throws<ArgumentException>(() => new MembershipLayout("orleans", new ClusterOptions { ServiceId = "s", ClusterId = new string('x', 2_000_000) }));
        Assert.Contains("clusterId", refused.Message, StringComparison.Ordinal);
        Assert.Contains("2000000", refused.Message, StringComparison.Ordinal);
    }
}
