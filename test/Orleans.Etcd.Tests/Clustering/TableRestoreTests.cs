using System.Globalization;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What a silo reads of the table after etcd was restored from a backup, while the silo goes on.</summary>
public abstract class TableRestoreTests(string version)
{
    private static readonly ClusterOptions Options = new() { ServiceId = "service", ClusterId = "cluster" };

    /// <summary>No comparison of revisions tells the one write from the other; that the watch has begun a new epoch does.</summary>
    [Fact]
    public async Task ReadAll_AnotherWriteHasTheRevisionOfALostOne_IsTheOther()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find(version) });
        await using var others = server.Connect();
        await using var before = others.Table(Options);
        await before.InitializeMembershipTableAsync(true);
        await before.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        await server.BackUpAsync();

        await WriteAsync(before, 1);
        await using var etcd = server.Connect();
        await using var table = etcd.Table(Options);
        await table.InitializeMembershipTableAsync(true);
        var epoch = (await table.View.WaitAsync(view => view.Values.Count == 3, CancellationToken.None)).Epoch;
        var lost = await table.ReadAllAsync();
        await server.RestoreAsync();
        await table.View.WaitAsync(view => view.Epoch > epoch, CancellationToken.None);

        await WriteAsync(before, 2);
        await using var after = others.Table(Options);
        var written = await after.ReadAllAsync();
        Assert.Equal(lost.Version.VersionEtag, written.Version.VersionEtag);
        Assert.NotEqual(lost.Describe(), written.Describe());
        var seen = await table.View.WaitAsync(view => view.Revision.ToString(CultureInfo.InvariantCulture) == written.Version.VersionEtag, CancellationToken.None);
        Assert.True(seen.Epoch > epoch);
        Assert.Equal(written.Describe(), (await table.ReadAllAsync()).Describe());
    }

    /// <summary>A heartbeat and a status of one silo.</summary>
    private static async Task WriteAsync(EtcdMembershipTable table, int silo)
    {
        await table.UpdateIAmAliveAsync(Silos.Entry(silo, alive: Silos.Epoch.AddMinutes(silo)));
        var read = await table.ReadRowAsync(Silos.Address(silo));
        Assert.True(await table.UpdateRowAsync(Silos.Entry(silo, SiloStatus.ShuttingDown), read.Members.Single().Item2, read.Version.Next()));
    }
}

[Trait("Category", "Long")]
public sealed class TableRestoreOn34() : TableRestoreTests("3.4");

public sealed class TableRestoreOn35() : TableRestoreTests("3.5");
