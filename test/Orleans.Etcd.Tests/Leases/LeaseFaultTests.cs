using System.Diagnostics;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>A lease is kept through outages that are shorter than its TTL, and renewed again after each.</summary>
public abstract class LeaseFaultTests(string version)
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(9);
    private readonly string _binary = EtcdBinary.Find(version);

    [Theory]
    [Trait("Category", "Long")]
    [InlineData(true, EtcdTls.None, null)]
    [InlineData(false, EtcdTls.None, "root")]
    [InlineData(true, EtcdTls.MutualTls, null)]
    public Task Lease_ServerRestarts_IsKeptLikewise(bool gracefully, EtcdTls tls, string? user) => Lease_ServerRestarts_IsKept(gracefully, tls, user);

    [Theory]
    [InlineData(false, EtcdTls.None, null)]
    public async Task Lease_ServerRestarts_IsKept(bool gracefully, EtcdTls tls, string? user)
    {
        await using var server = await EtcdServer.StartAsync(new()
        {
            BinaryPath = _binary,
            Tls = tls,
            UserName = user,
            Password = user is null ? null : "hunter2",
            AuthTokenTtl = TimeSpan.FromSeconds(1),
        });
        await using var etcd = server.Connect();
        await using var lease = await etcd.Leases.GrantAsync(Ttl, CancellationToken.None);
        await etcd.PutAsync("held", "1", lease.Id);
        await (gracefully ? server.StopAsync() : server.KillAsync());
        await Task.Delay(TimeSpan.FromSeconds(1));
        await server.RestartAsync();
        await Renewal.NextAsync(lease);
        // Longer than the TTL: the lease lives by its renewals, long after the token has expired.
        await Task.Delay(Ttl + TimeSpan.FromSeconds(1));
        Assert.Equal(LeaseState.Held, lease.State);
        Assert.NotNull(await etcd.GetAsync("held"));
    }

    [Fact]
    public async Task Lease_OnlyServerFrozenForAWhile_IsKept()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        await using var etcd = server.Connect();
        await using var lease = await etcd.Leases.GrantAsync(Ttl, CancellationToken.None);
        await etcd.PutAsync("held", "1", lease.Id);
        server.Pause();
        await UntilAsync(() => lease.State == LeaseState.Unknown, "the renewal is overdue");
        server.Resume();
        await Renewal.NextAsync(lease);
        Assert.NotNull(await etcd.GetAsync("held"));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Lease_MembersFrozenInTurnAndQuorumLost_IsKept()
    {
        await using var cluster = await EtcdCluster.StartAsync(new() { BinaryPath = _binary });
        await using var etcd = cluster.Connect();
        await using var lease = await etcd.Leases.GrantAsync(Ttl, CancellationToken.None);
        await etcd.PutAsync("held", "1", lease.Id);
        foreach (var member in cluster.Members)
        {
            // Not the whole TTL: a leader that was frozen for longer takes leases away that others renewed.
            member.Pause();
            await Renewal.NextAsync(lease);
            member.Resume();
        }

        await cluster.GetLeaderAsync();
        await cluster.Members[0].KillAsync();
        await cluster.Members[1].KillAsync();
        await Task.Delay(TimeSpan.FromSeconds(1));
        await Task.WhenAll(cluster.Members[0].RestartAsync(), cluster.Members[1].RestartAsync());
        await Renewal.NextAsync(lease);
        Assert.NotNull(await etcd.GetAsync("held"));
    }

    [Fact]
    public async Task Lease_LostInAnOutage_IsRevokedAsSoonAsThatIsOver()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        await using var etcd = server.Connect();
        await using var lease = await etcd.Leases.GrantAsync(Ttl, CancellationToken.None);
        await etcd.PutAsync("held", "1", lease.Id);
        await server.KillAsync();
        await UntilAsync(() => lease.Lost.IsCancellationRequested, "the lease is lost");
        await server.RestartAsync();
        var since = Stopwatch.StartNew();
        while (await etcd.GetAsync("held") is not null)
            await Task.Delay(10);
        // Left to expire it would live for another TTL, as every lease does under a new leader.
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Ttl / 3);
    }

    /// <summary>etcd hears us all the time, and we do not hear it: the lease is lost to us, and its keys stay until the owner has let go.</summary>
    [Fact]
    public async Task Lease_LostForWantOfAnswers_KeepsItsKeysUntilItsOwnerHasBeenTold()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        await using var proxy = TcpProxy.Start(server.Endpoint);
        await using var direct = server.Connect();
        await using var etcd = server.Connect(through: proxy.Endpoint);
        await using var lease = await etcd.Leases.GrantAsync(TimeSpan.FromSeconds(4), CancellationToken.None);
        await etcd.PutAsync("held", "1", lease.Id);
        var told = new TaskCompletionSource<bool>(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var loss = lease.Lost.UnsafeRegister(
            _ =>
            {
                Thread.Sleep(500);
                told.SetResult(direct.GetAsync("held").GetAwaiter().GetResult() is not null);
            },
            null);
        proxy.StallAnswers();
        Assert.True(await told.Task.WaitAsync(TimeSpan.FromSeconds(20)), "its key was gone while its owner was being told");
        await UntilAsync(() => direct.GetAsync("held").GetAwaiter().GetResult() is null, "it is gone in the end");
    }

    private static async Task UntilAsync(Func<bool> condition, string because)
    {
        var since = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(since.Elapsed < TimeSpan.FromSeconds(30), $"Not within 30 s: {because}");
            await Task.Delay(10);
        }
    }
}

[Trait("Category", "Long")]
public sealed class LeaseFaultTestsOn34() : LeaseFaultTests("3.4");

public sealed class LeaseFaultTestsOn35() : LeaseFaultTests("3.5");
