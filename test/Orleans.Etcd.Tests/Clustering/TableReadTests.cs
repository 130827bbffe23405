using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>However a view was come by, from etcd or from what is known, it is the same, and the caller's own.</summary>
public abstract class TableReadTests(SharedEtcd etcd)
{
    [Fact]
    public async Task ReadRowAndReadAll_Agree()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await AgreeAsync(cluster);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2, SiloStatus.Dead));
        await AgreeAsync(cluster);
        var read = await cluster.Second.ReadRowAsync(Silos.Address(1));
        Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), read.Members[0].Item2, read.Version.Next()));
        await AgreeAsync(cluster);
    }

    [Fact]
    public async Task ReadRowAndReadAll_BeforeInitialisation_Agree()
    {
        await using var cluster = await Cluster.CreateAsync(etcd, initialise: false);
        await AgreeAsync(cluster);
        Assert.Equal((0, "0"), ((await cluster.First.ReadAllAsync()).Version.Version, (await cluster.First.ReadAllAsync()).Version.VersionEtag));
        Assert.Empty(await cluster.RawAsync());
    }

    [Fact]
    public async Task ReadRowAndReadAll_AfterDeletions_Agree()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2, SiloStatus.Dead));
        await AgreeAsync(cluster);
        await cluster.First.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue);
        await AgreeAsync(cluster);
        Assert.Single((await cluster.Second.ReadAllAsync()).Members);
        await cluster.Second.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);
        await AgreeAsync(cluster);
        Assert.Empty((await cluster.First.ReadAllAsync()).Members);
        // The same silo once more, in a new life of the table.
        await cluster.Second.InitializeMembershipTableAsync(true);
        await cluster.Second.InsertAsync(Silos.Entry(1, SiloStatus.Joining));
        await AgreeAsync(cluster);
        Assert.Equal(SiloStatus.Joining, (await cluster.First.ReadAllAsync()).Members.Single().Item1.Status);
    }

    [Fact]
    public async Task Input_ChangedAfterwards_IsNotStored()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var entry = Silos.Entry(1);
        entry.SuspectTimes = [Tuple.Create(Silos.Address(7), Silos.Epoch)];
        await cluster.First.InsertAsync(entry);
        var raw = await cluster.RawAsync();
        var expected = (await cluster.Second.ReadAllAsync()).Describe();
        Spoil(entry);
        await OthersSeeAsync(cluster, expected);
        Assert.Equal(raw, await cluster.RawAsync());

        // Spoilt while the write is under way: what counts is what it was when it was handed over.
        var read = await cluster.First.ReadRowAsync(Silos.Address(1));
        var update = Silos.Entry(1, SiloStatus.ShuttingDown);
        var writing = cluster.First.UpdateRowAsync(update, read.Members[0].Item2, read.Version.Next());
        Spoil(update);
        Assert.True(await writing);
        var stored = (await cluster.Second.ReadAllAsync()).Members.Single().Item1;
        Assert.Equal((SiloStatus.ShuttingDown, "silo-1", 0), (stored.Status, stored.SiloName, stored.SuspectTimes!.Count));
    }

    [Fact]
    public async Task Output_ChangedByACaller_IsNobodyElses()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        for (var i = 2; i < 6; i++)
        {
            // Another's write each time, so that the view is read anew, comes from the watch, or from the last read.
            await cluster.Second.InsertAsync(Silos.Entry(i));
            var expected = (await cluster.Second.ReadAllAsync()).Describe();
            for (var again = 0; again < 3; again++)
            {
                var read = await cluster.First.ReadAllAsync();
                Assert.Equal(expected, read.Describe());
                foreach (var member in read.Members)
                    Spoil(member.Item1);
                Spoil((await cluster.First.ReadRowAsync(Silos.Address(1))).Members[0].Item1);
            }

            await OthersSeeAsync(cluster, expected);
        }
    }

    [Fact]
    public async Task Output_OfAViewFromTheWatch_IsNobodyElses()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.ReadAllAsync();
        await cluster.Second.InsertAsync(Silos.Entry(1));
        var expected = (await cluster.Second.ReadAllAsync()).Describe();
        // Served without reading a row only once the watch has brought it; then the same image serves every read.
        var reads = new List<MembershipTableData>();
        for (var i = 0; i < 20; i++)
        {
            reads.Add(await cluster.First.ReadAllAsync());
            Assert.Equal(expected, reads[^1].Describe());
            Spoil(reads[^1].Members[0].Item1);
        }

        Assert.Equal(20, reads.Select(read => read.Members[0].Item1).Distinct(ReferenceEqualityComparer.Instance).Count());
        Assert.Equal(20, reads.Select(read => read.Members[0].Item1.SuspectTimes).Distinct(ReferenceEqualityComparer.Instance).Count());
    }

    private static async Task AgreeAsync(Cluster cluster)
    {
        var all = await cluster.First.ReadAllAsync();
        Assert.Equal(all.Describe(), (await cluster.Second.ReadAllAsync()).Describe());
        foreach (var table in new[] { cluster.First, cluster.Second })
        {
            foreach (var silo in new[] { 1, 2, 9 })
            {
                var expected = all.Members.Where(member => member.Item1.SiloAddress.Equals(Silos.Address(silo))).ToList();
                Assert.Equal(new MembershipTableData(expected, all.Version).Describe(), (await table.ReadRowAsync(Silos.Address(silo))).Describe());
            }
        }
    }

    private static async Task OthersSeeAsync(Cluster cluster, string expected)
    {
        foreach (var table in new[] { cluster.First, cluster.Second, cluster.First })
            Assert.Equal(expected, (await table.ReadAllAsync()).Describe());
    }

    private static void Spoil(MembershipEntry entry)
    {
        entry.Status = SiloStatus.Dead;
        entry.SiloName = "spoilt";
        entry.IAmAliveTime = DateTime.MaxValue;
        entry.SiloAddress = Silos.Address(66);
        (entry.SuspectTimes ??= []).Add(Tuple.Create(Silos.Address(66), DateTime.UtcNow));
    }
}

public sealed class TableReadOn34(SharedEtcd34 etcd) : TableReadTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableReadOn35(SharedEtcd35 etcd) : TableReadTests(etcd), IClassFixture<SharedEtcd35>;
