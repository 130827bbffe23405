using System.Diagnostics;
using System.Runtime.CompilerServices;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>Leases against a server that stays up, some of them through a network that does not.</summary>
public abstract class LeaseTests(SharedEtcd shared) : IAsyncLifetime
{
    private readonly string _prefix = shared.NewPrefix();
    private EtcdConnection _direct = null!;
    private TcpProxy _proxy = null!;
    private EtcdConnection _proxied = null!;

    public Task InitializeAsync()
    {
        _direct = shared.Server.Connect();
        _proxy = TcpProxy.Start(shared.Server.Endpoint);
        _proxied = shared.Server.Connect(options => options.RequestTimeout = TimeSpan.FromMilliseconds(500), _proxy.Endpoint);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _proxied.DisposeAsync();
        await _direct.DisposeAsync();
        await _proxy.DisposeAsync();
    }

    [Theory]
    [InlineData(2, 2)]
    [InlineData(2.1, 3)]
    [InlineData(60, 60)]
    public async Task GrantAsync_Ttl_IsRoundedUpToSeconds(double asked, double granted)
    {
        await using var lease = await GrantAsync(_direct, asked);
        Assert.Equal(TimeSpan.FromSeconds(granted), lease.Ttl);
        Assert.InRange(lease.Remaining, TimeSpan.FromSeconds(granted - 2), lease.Ttl);
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(0.9)]
    [InlineData(400d * 86_400)]
    public async Task GrantAsync_TtlOutOfRange_IsRefused(double seconds) =>
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => GrantAsync(_direct, seconds));

    [Fact]
    public async Task Lost_NetworkStalled_FiresWhileTheKeyStillExists()
    {
        await using var lease = await GrantAsync(_proxied, 3);
        await _direct.PutAsync(_prefix + "a", "1", lease.Id);
        await RenewedAsync(lease);
        _proxy.Stall();
        await LostAsync(lease);
        Assert.NotNull(await _direct.GetAsync(_prefix + "a"));
        Assert.Equal(LeaseState.Lost, lease.State);
        // What was held back arrives now: too late.
        _proxy.Pass();
        await GoneAsync(_prefix + "a");
        Assert.Equal(LeaseState.Lost, lease.State);
    }

    [Fact]
    public async Task State_NetworkBackBeforeTheDeadline_IsHeldAgain()
    {
        await using var lease = await GrantAsync(_proxied, 6);
        await _direct.PutAsync(_prefix + "a", "1", lease.Id);
        await RenewedAsync(lease);
        _proxy.Stall();
        await UntilAsync(() => lease.State == LeaseState.Unknown, "the renewal is overdue");
        _proxy.Pass();
        await UntilAsync(() => lease.State == LeaseState.Held, "the renewal is made up for");
        Assert.False(lease.Lost.IsCancellationRequested);
        Assert.NotNull(await _direct.GetAsync(_prefix + "a"));
    }

    /// <summary>
    /// Renewals are a third of the TTL apart, so two thirds are left for an outage, the margin and connecting again.
    /// Twenty processes' worth, because how long one waits to connect again is drawn by chance.
    /// </summary>
    [Fact]
    public async Task State_OutageBeginsJustBeforeARenewal_IsKept()
    {
        await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => KeptAsync()));

        async Task KeptAsync()
        {
            await using var proxy = TcpProxy.Start(shared.Server.Endpoint);
            await using var etcd = shared.Server.Connect(options => options.MaxReconnectBackoff = TimeSpan.FromMilliseconds(200), proxy.Endpoint);
            await using var lease = await GrantAsync(etcd, 6);
            await RenewedAsync(lease);
            // The worst moment: the next renewal is about to be sent, and finds nobody.
            await UntilAsync(() => lease.Remaining < (lease.Ttl * 2 / 3) - TimeSpan.FromSeconds(0.4), "it is about to be renewed");
            proxy.Refuse();
            await Task.Delay(lease.Ttl * 0.45);
            proxy.Pass();
            await RenewedAsync(lease);
        }
    }

    [Fact]
    public async Task Renewal_EveryThirdOfTheTtl_AndNoOftener()
    {
        await using var etcd = shared.Server.Connect();
        var before = await RenewalsAsync();
        await using var lease = await GrantAsync(etcd, 3);
        await Task.Delay(TimeSpan.FromSeconds(6.5));
        // At 1, 2, 3, 4, 5 and 6 s; a machine that is busy may be late with some, and is never early.
        Assert.InRange(await RenewalsAsync() - before, 4, 6);
    }

    [Fact]
    public async Task Lost_RevokedBySomeoneElse_FiresAtTheNextRenewal()
    {
        await using var lease = await GrantAsync(_direct, 6);
        await using var other = shared.Server.Connect();
        await other.RevokeAsync(lease.Id, CancellationToken.None);
        var since = Stopwatch.StartNew();
        await LostAsync(lease);
        Assert.InRange(since.Elapsed, TimeSpan.Zero, lease.Ttl / 2);
    }

    [Fact]
    public async Task GrantAsync_AnswerLost_MakesOneLeaseOnly()
    {
        await _proxied.GetAsync("warm");
        var (before, asked) = (await LeasesAsync(), await GrantsAsync());
        _proxy.StallAnswers();
        var granting = GrantAsync(_proxied, 30);
        await UntilAsync(async () => (await LeasesAsync()) > before, "the server has granted it");
        // The first attempt has run out of time by then, and a second is under way.
        await UntilAsync(async () => (await GrantsAsync()) >= asked + 2, "it is asked for again");
        _proxy.Pass();
        await using var lease = await granting;
        Assert.Equal(before + 1, await LeasesAsync());
        Assert.Equal(LeaseState.Held, lease.State);
    }

    [Fact]
    public async Task GrantAsync_AnswerComesAfterTheTtl_IsLostAndDisturbsNoOtherLease()
    {
        await using var etcd = shared.Server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(10), _proxy.Endpoint);
        _proxy.StallAnswers();
        var granting = GrantAsync(etcd, 2);
        await Task.Delay(2_200);
        _proxy.Pass();
        var late = await granting;
        Assert.Equal(LeaseState.Lost, late.State);
        await LostAsync(late);
        await using var next = await GrantAsync(etcd, 6);
        // A lease that is over but still renewed would break the stream that all share, again and again.
        await RenewedAsync(next);
        var streams = await StreamsAsync();
        await RenewedAsync(next);
        await RenewedAsync(next);
        Assert.Equal(LeaseState.Held, next.State);
        Assert.Equal(streams, await StreamsAsync());
    }

    [Fact]
    public async Task RevokeAsync_Held_DeletesTheKeyAndIsNoLoss()
    {
        var lease = await GrantAsync(_direct, 30);
        await _direct.PutAsync(_prefix + "a", "1", lease.Id);
        await lease.RevokeAsync();
        await lease.RevokeAsync();
        await lease.DisposeAsync();
        Assert.Null(await _direct.GetAsync(_prefix + "a"));
        Assert.Equal(LeaseState.Released, lease.State);
        Assert.False(lease.Lost.IsCancellationRequested);
    }

    [Fact]
    public async Task Renewal_AThousandLeases_ShareOneStream()
    {
        await using var etcd = shared.Server.Connect();
        var before = await OpenStreamsAsync();
        var leases = await Task.WhenAll(Enumerable.Range(0, 1_000).Select(_ => GrantAsync(etcd, 6)));
        await Task.Delay(TimeSpan.FromSeconds(7));
        Assert.All(leases, lease => Assert.False(lease.HasEnded));
        Assert.Equal(1, await OpenStreamsAsync() - before);
    }

    [Fact]
    public async Task DisposeAsync_OfTheConnection_LosesItsLeases()
    {
        var etcd = shared.Server.Connect();
        var lease = await GrantAsync(etcd, 30);
        await etcd.DisposeAsync();
        await LostAsync(lease);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => GrantAsync(etcd, 30));
        await lease.DisposeAsync();
    }

    [Fact]
    public async Task GrantAsync_ExecutionContext_IsNotKept()
    {
        await _direct.GetAsync("warm");
        var (lease, context) = await GrantWithContextAsync();
        await using (lease)
        {
            await UntilAsync(
                () =>
                {
                    GC.Collect();
                    return !context.IsAlive;
                },
                "the caller's context is let go while the lease is held");
            Assert.Equal(LeaseState.Held, lease.State);
        }
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private Task<(EtcdLease Lease, WeakReference Context)> GrantWithContextAsync() => Task.Run(async () =>
    {
        var local = new AsyncLocal<object?> { Value = new object() };
        var context = new WeakReference(local.Value);
        return (await GrantAsync(_direct, 30), context);
    });

    private static Task<EtcdLease> GrantAsync(EtcdConnection etcd, double seconds) =>
        etcd.Leases.GrantAsync(TimeSpan.FromSeconds(seconds), CancellationToken.None);

    private Task<long> StreamsAsync() => Metrics.ReadAsync(shared.Server, "grpc_server_started_total", "LeaseKeepAlive");

    private async Task<long> OpenStreamsAsync() => await StreamsAsync() - await Metrics.ReadAsync(shared.Server, "grpc_server_handled_total", "LeaseKeepAlive");

    private Task<long> RenewalsAsync() => Metrics.ReadAsync(shared.Server, "grpc_server_msg_received_total", "LeaseKeepAlive");

    private Task<long> GrantsAsync() => Metrics.ReadAsync(shared.Server, "grpc_server_started_total", "LeaseGrant");

    private Task<long> LeasesAsync() => Metrics.ReadAsync(shared.Server, "etcd_debugging_lease_granted_total", "");

    private async Task GoneAsync(string key) => await UntilAsync(async () => await _direct.GetAsync(key) is null, $"{key} is gone");

    private static Task RenewedAsync(EtcdLease lease) => Renewal.NextAsync(lease);

    private static Task UntilAsync(Func<bool> condition, string because) => UntilAsync(() => Task.FromResult(condition()), because);

    private static async Task UntilAsync(Func<Task<bool>> condition, string because)
    {
        var since = Stopwatch.StartNew();
        while (!await condition())
        {
            Assert.True(since.Elapsed < TimeSpan.FromSeconds(30), $"Not within 30 s: {because}");
            await Task.Delay(20);
        }
    }

    private static async Task LostAsync(EtcdLease lease)
    {
        var lost = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lease.Lost.Register(lost.SetResult);
        await lost.Task.WaitAsync(TimeSpan.FromSeconds(30));
    }
}

[Trait("Category", "Long")]
public sealed class LeaseTestsOn34(SharedEtcd34 shared) : LeaseTests(shared), IClassFixture<SharedEtcd34>;

public sealed class LeaseTestsOn35(SharedEtcd35 shared) : LeaseTests(shared), IClassFixture<SharedEtcd35>;

[Trait("Category", "Long")]
public sealed class LeaseTestsOn35Secured(SharedEtcd35Secured shared) : LeaseTests(shared), IClassFixture<SharedEtcd35Secured>;
