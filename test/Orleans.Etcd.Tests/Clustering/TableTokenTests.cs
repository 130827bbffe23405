using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What is written by which tokens, and by how many steps; what is refused leaves no trace.</summary>
public abstract class TableTokenTests(SharedEtcd etcd)
{
    private static readonly string?[] Garbage = [null, "", " ", "0", "-1", "+1", "1.0", "0x1", "x", "99999999999999999999"];

    [Fact]
    public async Task Insert_IsOneStep()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        for (var i = 0; i < 3; i++)
        {
            await cluster.First.InsertAsync(Silos.Entry(i));
            Assert.Equal(i + 1, (await cluster.Second.ReadAllAsync()).Version.Version);
        }
    }

    [Fact]
    public async Task Update_IsOneStep()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        for (var i = 0; i < 3; i++)
        {
            // The same row again: a write that changes nothing is a step as well.
            var read = await cluster.Second.ReadRowAsync(Silos.Address(1));
            Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(1), read.Members[0].Item2, read.Version.Next()));
            Assert.Equal(i + 2, (await cluster.First.ReadAllAsync()).Version.Version);
        }
    }

    [Fact]
    public async Task Heartbeat_IsNoStep()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var before = (await cluster.Second.ReadAllAsync()).Version;
        await cluster.First.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddMinutes(1)));
        Assert.Equal(before, (await cluster.Second.ReadAllAsync()).Version);
        Assert.Equal(before, (await cluster.Second.ReadRowAsync(Silos.Address(1))).Version);
    }

    [Fact]
    public async Task Write_TakesNewTokens()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        var before = await cluster.First.ReadAllAsync();
        var (written, other) = (before.Members.Single(member => member.Item1.SiloName == "silo-1").Item2, before.Members.Single(member => member.Item1.SiloName == "silo-2").Item2);
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1), written, before.Version.Next()));
        var after = await cluster.Second.ReadAllAsync();
        Assert.NotEqual(before.Version.VersionEtag, after.Version.VersionEtag);
        Assert.NotEqual(written, after.Members.Single(member => member.Item1.SiloName == "silo-1").Item2);
        Assert.Equal(other, after.Members.Single(member => member.Item1.SiloName == "silo-2").Item2);
    }

    [Fact]
    public Task StaleTableToken_AnswersFalse() => ChangesNothingAsync(async (table, stale, fresh) =>
    {
        Assert.False(await table.InsertRowAsync(Silos.Entry(3), stale.Version.Next()));
        Assert.False(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), Token(fresh), stale.Version.Next()));
        // The number is right, the token is not.
        Assert.False(await table.InsertRowAsync(Silos.Entry(3), new TableVersion(fresh.Version.Version + 1, stale.Version.VersionEtag)));
    });

    [Fact]
    public Task StaleRowToken_AnswersFalse() => ChangesNothingAsync(async (table, stale, fresh) =>
        Assert.False(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), Token(stale), fresh.Version.Next())));

    [Fact]
    public Task GarbageAsATableToken_AnswersFalse() => ChangesNothingAsync(async (table, _, fresh) =>
    {
        foreach (var garbage in Garbage)
        {
            var version = new TableVersion(fresh.Version.Version + 1, garbage!);
            Assert.False(await table.InsertRowAsync(Silos.Entry(3), version), $"insert with '{garbage}'");
            Assert.False(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), Token(fresh), version), $"update with '{garbage}'");
        }
    });

    [Fact]
    public Task GarbageAsARowToken_AnswersFalse() => ChangesNothingAsync(async (table, _, fresh) =>
    {
        foreach (var garbage in Garbage)
        {
            Assert.False(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), garbage!, fresh.Version.Next()), $"'{garbage}'");
            // Where there is no row, a token for none must not make one.
            Assert.False(await table.UpdateRowAsync(Silos.Entry(3), garbage!, fresh.Version.Next()), $"'{garbage}' for a silo without a row");
        }
    });

    [Fact]
    public Task DuplicateIdentity_AnswersFalse() => ChangesNothingAsync(async (table, _, fresh) =>
        Assert.False(await table.InsertRowAsync(Silos.Entry(1, SiloStatus.Dead), fresh.Version.Next())));

    [Fact]
    public Task MissingIdentity_AnswersFalse() => ChangesNothingAsync(async (table, _, fresh) =>
    {
        // Tokens that are good, but for another row or for the table.
        foreach (var token in new[] { Token(fresh), fresh.Version.VersionEtag })
            Assert.False(await table.UpdateRowAsync(Silos.Entry(3), token, fresh.Version.Next()));
    });

    [Fact]
    public Task AnotherRowsToken_AnswersFalse() => ChangesNothingAsync(async (table, _, fresh) =>
    {
        var other = fresh.Members.Single(member => member.Item1.SiloName == "silo-2").Item2;
        Assert.False(await table.UpdateRowAsync(Silos.Entry(1, SiloStatus.Dead), other, fresh.Version.Next()));
    });

    [Fact]
    public async Task TokensTakenBeforeAHeartbeat_StillCommit()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        var read = await cluster.First.ReadAllAsync();
        await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(1, alive: Silos.Epoch.AddMinutes(1)));
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1, SiloStatus.ShuttingDown), read.Members[0].Item2, read.Version.Next()));
    }

    private static string Token(MembershipTableData read) => read.Members.Single(member => member.Item1.SiloName == "silo-1").Item2;

    /// <summary>Two rows, of which the first was updated between two reads; afterwards every key and its revisions must be as before.</summary>
    private async Task ChangesNothingAsync(Func<EtcdMembershipTable, MembershipTableData, MembershipTableData, Task> attempt)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        var stale = await cluster.First.ReadAllAsync();
        Assert.True(await cluster.First.UpdateRowAsync(Silos.Entry(1), Token(stale), stale.Version.Next()));
        var fresh = await cluster.First.ReadAllAsync();
        var before = await cluster.RawAsync();
        foreach (var table in new[] { cluster.First, cluster.Second })
            await attempt(table, stale, fresh);
        Assert.Equal(before, await cluster.RawAsync());
        // And what was read is still good.
        Assert.True(await cluster.Second.UpdateRowAsync(Silos.Entry(1), Token(fresh), fresh.Version.Next()));
    }
}

public sealed class TableTokenOn34(SharedEtcd34 etcd) : TableTokenTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableTokenOn35(SharedEtcd35 etcd) : TableTokenTests(etcd), IClassFixture<SharedEtcd35>;
