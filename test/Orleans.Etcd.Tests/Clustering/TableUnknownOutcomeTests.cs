using System.Diagnostics;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>A write that etcd applied and whose answer never came: the caller still learns the truth.</summary>
public abstract class TableUnknownOutcomeTests(SharedEtcd etcd)
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMilliseconds(700);

    [Fact]
    public async Task Insert_Applied_AnswersTrueAndIsOneStep()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();

        proxy.StallAnswers();
        var inserting = cutOff.InsertRowAsync(Silos.Entry(1), before.Version.Next());
        await RowIsThereAsync(cluster, 1);
        LoseAnswers(proxy);

        Assert.True(await inserting);
        Assert.Equal(before.Version.Version + 1, (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Update_AppliedAndFollowedByAWriteOfAnotherRow_AnswersTrue()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();

        proxy.StallAnswers();
        var updating = cutOff.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), before.Members[0].Item2, before.Version.Next());
        await RowHasAsync(cluster, SiloStatus.ShuttingDown);
        await cluster.First.InsertAsync(Silos.Entry(2));
        LoseAnswers(proxy);

        Assert.True(await updating);
        Assert.Equal(before.Version.Version + 2, (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Update_AppliedAndOverwritten_SaysThatItDoesNotKnow()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();

        proxy.StallAnswers();
        var updating = cutOff.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), before.Members[0].Item2, before.Version.Next());
        await RowHasAsync(cluster, SiloStatus.ShuttingDown);
        var read = await cluster.First.ReadRowAsync(Silos.Address(1));
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        LoseAnswers(proxy);

        var unknown = await Assert.ThrowsAsync<EtcdException>(() => updating);
        Assert.True(unknown.OutcomeUnknown);
    }

    [Fact]
    public async Task Insert_NotAppliedAndOvertaken_AnswersFalse()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();

        proxy.Stall();
        var inserting = cutOff.InsertRowAsync(Silos.Entry(1), before.Version.Next());
        await cluster.First.InsertAsync(Silos.Entry(2));
        LoseAnswers(proxy);

        Assert.False(await inserting);
        Assert.Equal("silo-2", (await cluster.First.ReadAllAsync()).Members.Single().Item1.SiloName);
    }

    [Fact]
    public async Task Outage_Throws_AndNeverAnswersFalse()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();
        proxy.Refuse();
        await Assert.ThrowsAsync<EtcdException>(() => cutOff.InsertRowAsync(Silos.Entry(1), before.Version.Next()));
        await Assert.ThrowsAsync<EtcdException>(() => cutOff.UpdateIAmAliveAsync(Silos.Entry(1)));
        await Assert.ThrowsAsync<EtcdException>(() => cutOff.ReadAllAsync());
        await Assert.ThrowsAsync<EtcdException>(() => cutOff.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue));
        proxy.Pass();
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var asked = clock.Elapsed;
            try
            {
                Assert.True(await cutOff.InsertRowAsync(Silos.Entry(1), before.Version.Next()));
                return;
            }
            catch (EtcdException exception)
            {
                Assert.True(asked < TimeSpan.FromSeconds(3), $"still {exception.Message} {asked} after the outage");
            }
        }
    }

    /// <summary>What was held back is gone for good; new connections work.</summary>
    private static void LoseAnswers(TcpProxy proxy)
    {
        proxy.BreakAll();
        proxy.Pass();
    }

    private static async Task RowIsThereAsync(Cluster cluster, int silo)
    {
        while ((await cluster.First.ReadRowAsync(Silos.Address(silo))).Members.Count == 0)
            await Task.Yield();
    }

    private static async Task RowHasAsync(Cluster cluster, SiloStatus status)
    {
        while ((await cluster.First.ReadRowAsync(Silos.Address(1))).Members[0].Item1.Status != status)
            await Task.Yield();
    }
}

public sealed class TableUnknownOutcomeOn34(SharedEtcd34 etcd) : TableUnknownOutcomeTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableUnknownOutcomeOn35(SharedEtcd35 etcd) : TableUnknownOutcomeTests(etcd), IClassFixture<SharedEtcd35>;
