using System.Diagnostics;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>A write that etcd applied and whose answer never came: the caller still learns the truth.</summary>
public abstract class TableUnknownOutcomeTests(SharedEtcd etcd)
{
    // No attempt ends by the clock: the connection is broken, once etcd has done what it was asked.
    private static readonly TimeSpan Never = TimeSpan.FromSeconds(30);

    // Where nobody is there any more, it is asked again for so long.
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(2);

    [Fact]
    public async Task Insert_Applied_AnswersTrueAndIsOneStep()
    {
        await using var scene = await StartAsync();

        var inserting = await scene.InsertUnheardAsync(SiloStatus.Active);
        scene.LoseAnswers();

        Assert.True(await inserting);
        Assert.Equal(scene.Before.Version.Version + 1, (await scene.Others.ReadAllAsync()).Version.Version);
    }

    /// <summary>With another member there a write does not wait for the silent one for all of its time.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Update_MemberKeepsSilent_IsMadeOnceAndSoonThroughAnother(bool applied)
    {
        await using var one = TcpProxy.Start(etcd.Server.Endpoint);
        await using var other = TcpProxy.Start(etcd.Server.Endpoint);
        await using var connection = Connections.Connect(one.Endpoint, other.Endpoint);
        await using var table = connection.Table(new() { ServiceId = "service", ClusterId = $"{Guid.NewGuid():N}" });
        await table.InitializeMembershipTableAsync(true);
        await table.InsertAsync(Silos.Entry(1));
        var before = await table.ReadRowAsync(Silos.Address(1));
        var used = one.Accepted > 0 ? one : other;
        if (applied)
            used.StallAnswers();
        else
            used.Stall();
        var clock = Stopwatch.StartNew();
        Assert.True(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), before.Members[0].Item2, before.Version.Next()));
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(3));
        Assert.Equal(before.Version.Version + 1, (await table.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Update_AppliedAndFollowedByAWriteOfAnotherRow_AnswersTrue()
    {
        await using var scene = await StartAsync(Silos.Entry(1));

        var updating = await scene.UpdateUnheardAsync(SiloStatus.ShuttingDown);
        await scene.Others.InsertAsync(Silos.Entry(2));
        scene.LoseAnswers();

        Assert.True(await updating);
        Assert.Equal(scene.Before.Version.Version + 2, (await scene.Others.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Update_AppliedAndOverwritten_SaysThatItDoesNotKnow()
    {
        await using var scene = await StartAsync(Silos.Entry(1));

        var updating = await scene.UpdateUnheardAsync(SiloStatus.ShuttingDown);
        var read = await scene.Others.ReadRowAsync(Silos.Address(1));
        Assert.True(await scene.Others.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        scene.LoseAnswers();

        var unknown = await Assert.ThrowsAsync<EtcdException>(() => updating);
        Assert.True(unknown.OutcomeUnknown);
    }

    [Fact]
    public async Task Update_Applied_AnswersTrueAndIsOneStep()
    {
        await using var scene = await StartAsync(Silos.Entry(1));

        var updating = await scene.UpdateUnheardAsync(SiloStatus.ShuttingDown);
        scene.LoseAnswers();

        Assert.True(await updating);
        Assert.Equal(scene.Before.Version.Version + 1, (await scene.Others.ReadAllAsync()).Version.Version);
    }

    [Fact]
    public async Task Insert_AppliedAndOverwritten_SaysThatItDoesNotKnow()
    {
        await using var scene = await StartAsync();
        var inserting = await scene.InsertUnheardAsync(SiloStatus.Joining);
        var read = await scene.Others.ReadRowAsync(Silos.Address(1));
        Assert.True(await scene.Others.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), read.Members[0].Item2, read.Version.Next()));
        scene.LoseAnswers();
        await DoesNotKnowAsync(inserting);
    }

    [Fact]
    public async Task Insert_AppliedAndCleanedUp_SaysThatItDoesNotKnow()
    {
        await using var scene = await StartAsync();
        var inserting = await scene.InsertUnheardAsync(SiloStatus.Dead);
        // The row is absent again, as if it had never been written.
        await scene.Others.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue);
        scene.LoseAnswers();
        await DoesNotKnowAsync(inserting);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Insert_AppliedAndTableDeleted_SaysThatItDoesNotKnow(bool madeAnew)
    {
        await using var scene = await StartAsync();
        var inserting = await scene.InsertUnheardAsync(SiloStatus.Joining);
        await scene.Others.DeleteMembershipTableEntriesAsync(scene.Cluster.Options.ClusterId);
        if (madeAnew)
        {
            // The same number again as the insert had written, in another life of the table.
            await scene.Others.InitializeMembershipTableAsync(true);
            await scene.Others.InsertAsync(Silos.Entry(2));
        }

        scene.LoseAnswers();
        if (madeAnew)
            await DoesNotKnowAsync(inserting);
        else
            await NeverFalseAsync(inserting);
    }

    [Fact]
    public async Task Insert_AppliedAndThenRefused_SaysThatItDoesNotKnow()
    {
        await using var scene = await Scene.StartAsync(etcd, Soon, []);
        var inserting = await scene.InsertUnheardAsync(SiloStatus.Joining);
        // Asking again certainly fails, and what it would have found out stays unknown.
        scene.Proxy.Refuse();
        await DoesNotKnowAsync(inserting);
    }

    [Fact]
    public async Task Insert_NotAppliedAndOvertaken_AnswersFalse()
    {
        await using var scene = await StartAsync();

        scene.Proxy.Stall();
        var inserting = scene.CutOff.InsertRowAsync(Silos.Entry(1), scene.Before.Version.Next());
        await scene.Others.InsertAsync(Silos.Entry(2));
        scene.LoseAnswers();

        Assert.False(await inserting);
        Assert.Equal("silo-2", (await scene.Others.ReadAllAsync()).Members.Single().Item1.SiloName);
    }

    /// <summary>The first attempt may still be under way, and find the key gone again.</summary>
    [Fact]
    public async Task Eviction_UnheardAndThenRefusedForTheSilosKey_SaysThatItDoesNotKnow()
    {
        await using var scene = await StartAsync(Silos.Entry(1));
        scene.Proxy.Stall();
        var evicting = scene.CutOff.TryDeclareDeadAsync(Silos.Address(1), Silos.Address(2), scene.Before, CancellationToken.None);
        await scene.Others.Etcd.PutAsync(scene.Others.Layout.LivenessKey(Silos.Address(1)).ToStringUtf8(), "");
        scene.LoseAnswers();
        Assert.True((await Assert.ThrowsAsync<EtcdException>(() => evicting)).OutcomeUnknown);
        Assert.Equal(SiloStatus.Active, (await scene.Others.ReadAllAsync()).Members.Single().Item1.Status);
    }

    [Fact]
    public async Task Outage_Throws_AndNeverAnswersFalse()
    {
        await using var scene = await Scene.StartAsync(etcd, Soon, []);
        scene.Proxy.Refuse();
        await Assert.ThrowsAsync<EtcdException>(() => scene.CutOff.InsertRowAsync(Silos.Entry(1), scene.Before.Version.Next()));
        await Assert.ThrowsAsync<EtcdException>(() => scene.CutOff.UpdateIAmAliveAsync(Silos.Entry(1)));
        await Assert.ThrowsAsync<EtcdException>(() => scene.CutOff.ReadAllAsync());
        await Assert.ThrowsAsync<EtcdException>(() => scene.CutOff.CleanupDefunctSiloEntriesAsync(DateTimeOffset.MaxValue));
        scene.Proxy.Pass();
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var asked = clock.Elapsed;
            try
            {
                Assert.True(await scene.CutOff.InsertRowAsync(Silos.Entry(1), scene.Before.Version.Next()));
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

    private Task<Scene> StartAsync(params MembershipEntry[] rows) => Scene.StartAsync(etcd, Never, rows);

    /// <summary>A table behind a proxy that loses answers, what it has read, and one of another silo that hears everything.</summary>
    private sealed record Scene(Cluster Cluster, TcpProxy Proxy, EtcdMembershipTable CutOff, MembershipTableData Before) : IAsyncDisposable
    {
        public EtcdMembershipTable Others => Cluster.First;

        public static async Task<Scene> StartAsync(SharedEtcd etcd, TimeSpan timeout, MembershipEntry[] rows)
        {
            var cluster = await Cluster.CreateAsync(etcd);
            await cluster.First.InsertAsync(rows);
            var proxy = TcpProxy.Start(etcd.Server.Endpoint);
            var cutOff = cluster.Table(cluster.Connect(etcd, proxy.Endpoint, timeout));
            return new Scene(cluster, proxy, cutOff, await cutOff.ReadAllAsync());
        }

        /// <summary>An insert of silo 1 that etcd has applied and whose answer the proxy holds back.</summary>
        public async Task<Task<bool>> InsertUnheardAsync(SiloStatus status)
        {
            Proxy.StallAnswers();
            var inserting = CutOff.InsertRowAsync(Silos.Entry(1, status), Before.Version.Next());
            while ((await Others.ReadRowAsync(Silos.Address(1))).Members.Count == 0)
                await Task.Yield();
            return inserting;
        }

        /// <summary>An update of silo 1, likewise.</summary>
        public async Task<Task<bool>> UpdateUnheardAsync(SiloStatus status)
        {
            Proxy.StallAnswers();
            var updating = CutOff.UpdateRowAsync(Silos.Entry(1, status), Before.Members[0].Item2, Before.Version.Next());
            while ((await Others.ReadRowAsync(Silos.Address(1))).Members[0].Item1.Status != status)
                await Task.Yield();
            return updating;
        }

        /// <summary>What was held back is gone for good; new connections work.</summary>
        public void LoseAnswers()
        {
            Proxy.BreakAll();
            Proxy.Pass();
        }

        public async ValueTask DisposeAsync()
        {
            await Proxy.DisposeAsync();
            await Cluster.DisposeAsync();
        }
    }
}

[Trait("Category", "Long")]
public sealed class TableUnknownOutcomeOn34(SharedEtcd34 etcd) : TableUnknownOutcomeTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableUnknownOutcomeOn35(SharedEtcd35 etcd) : TableUnknownOutcomeTests(etcd), IClassFixture<SharedEtcd35>;
