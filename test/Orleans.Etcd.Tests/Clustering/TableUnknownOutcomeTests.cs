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
    public async Task Update_Applied_AnswersTrueAndIsOneStep()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();

        proxy.StallAnswers();
        var updating = cutOff.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), before.Members[0].Item2, before.Version.Next());
        await RowHasAsync(cluster, SiloStatus.ShuttingDown);
        LoseAnswers(proxy);

        Assert.True(await updating);
        Assert.Equal(before.Version.Version + 1, (await cluster.First.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Insert_AppliedAndOverwritten_SaysThatItDoesNotKnow()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var (inserting, proxy) = await InsertUnheardAsync(cluster, SiloStatus.Joining);
        await using var _ = proxy;
        var read = await cluster.First.ReadRowAsync(Silos.Address(1));
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        LoseAnswers(proxy);
        await DoesNotKnowAsync(inserting);
    }

    [Fact]
    public async Task Insert_AppliedAndCleanedUp_SaysThatItDoesNotKnow()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var (inserting, proxy) = await InsertUnheardAsync(cluster, SiloStatus.Dead);
        await using var _ = proxy;
        // The row is absent again, as if it had never been written.
        await cluster.First.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue);
        LoseAnswers(proxy);
        await DoesNotKnowAsync(inserting);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Insert_AppliedAndTableDeleted_SaysThatItDoesNotKnow(bool madeAnew)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var (inserting, proxy) = await InsertUnheardAsync(cluster, SiloStatus.Joining);
        await using var _ = proxy;
        await cluster.First.DeleteMembershipTableEntriesAsync(cluster.Options.ClusterId);
        if (madeAnew)
        {
            // The same number again as the insert had written, in another life of the table.
            await cluster.First.InitializeMembershipTableAsync(true);
            await cluster.First.InsertAsync(Silos.Entry(2));
        }

        LoseAnswers(proxy);
        if (madeAnew)
            await DoesNotKnowAsync(inserting);
        else
            await NeverFalseAsync(inserting);
    }

    [Fact]
    public async Task Insert_AppliedAndThenRefused_SaysThatItDoesNotKnow()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var (inserting, proxy) = await InsertUnheardAsync(cluster, SiloStatus.Joining);
        await using var _ = proxy;
        // Asking again certainly fails, and what it would have found out stays unknown.
        proxy.Refuse();
        await DoesNotKnowAsync(inserting);
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

    private static async Task DoesNotKnowAsync(Task<bool> write) =>
        Assert.True((await Assert.ThrowsAsync<EtcdException>(() => write)).OutcomeUnknown);

    private static async Task NeverFalseAsync(Task<bool> write)
    {
        try
        {
            Assert.True(await write);
        }
        catch (EtcdException exception)
        {
            Assert.True(exception.OutcomeUnknown);
        }
    }

    /// <summary>An insert of silo 1 that etcd has applied and whose answer the proxy holds back.</summary>
    private async Task<(Task<bool> Inserting, TcpProxy Proxy)> InsertUnheardAsync(Cluster cluster, SiloStatus status)
    {
        var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, Timeout));
        var before = await cutOff.ReadAllAsync();
        proxy.StallAnswers();
        var inserting = cutOff.InsertRowAsync(Silos.Entry(1, status), before.Version.Next());
        await RowIsThereAsync(cluster, 1);
        return (inserting, proxy);
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
