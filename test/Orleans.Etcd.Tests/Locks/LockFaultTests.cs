using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>What a holder and a waiter are left with when the way to etcd, or etcd itself, fails.</summary>
public sealed class LockFaultTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const string Name = "lock";
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(4);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private QueueSilo _silo = null!;

    public Task InitializeAsync()
    {
        _silo = QueueSilo.Start(etcd.Server, _service);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync() => await _silo.DisposeAsync();

    [Theory]
    [InlineData("hangs")]
    [InlineData("answers nothing")]
    [InlineData("refuses")]
    public async Task EtcdIsLost_TheHolderKnowsBeforeItsKeyGoes(string how)
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var client = Client(proxy.Endpoint);
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        var lost = Stopped(held.LostToken);
        var deleted = DeletedAsync();
        await Task.Delay(Random.Shared.Next(1500));
        switch (how)
        {
            case "hangs": proxy.Stall(); break;
            case "answers nothing": proxy.StallAnswers(); break;
            default: proxy.Refuse(); break;
        }

        var known = await lost.WaitAsync(Ttl * 2);
        Assert.Equal(TimeSpan.Zero, held.Remaining);
        // Renewals that still arrive keep the lease alive; then it outlives this process's belief all the more.
        if (how == "answers nothing")
            Assert.False(deleted.IsCompleted);
        else
            Assert.True(known < await deleted.WaitAsync(Ttl * 3), "the key went before the holder knew");
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task EtcdIsAwayForLessThanTheRest_TheHoldSurvives()
    {
        await using var client = Client(ttl: TimeSpan.FromSeconds(6));
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        await etcd.Server.KillAsync();
        await Task.Delay(TimeSpan.FromSeconds(1.5));
        await etcd.Server.RestartAsync();
        // Twice the TTL: it lives by its renewals.
        await Task.Delay(TimeSpan.FromSeconds(12));
        Assert.False(held.LostToken.IsCancellationRequested);
        Assert.Equal(held.FencingToken, Assert.Single((await _silo.Queue(Name).GetStatusAsync()).Holders).Token);
    }

    [Fact]
    public async Task EtcdIsAwayForLonger_TheHolderKnows_AndLocksAreToBeHadAgain()
    {
        await using var client = Client();
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        var lost = Stopped(held.LostToken);
        await etcd.Server.KillAsync();
        var down = Stopwatch.GetTimestamp();
        Assert.InRange(Stopwatch.GetElapsedTime(down, await lost.WaitAsync(Ttl * 2)), TimeSpan.Zero, Ttl);
        // Asked while it is down, and held when it is back.
        var next = client.Locks.GetLock(Name).AcquireAsync();
        await Task.Delay(TimeSpan.FromSeconds(1));
        await etcd.Server.RestartAsync();
        await using var again = await next.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.True(again.FencingToken > held.FencingToken);
        Assert.True(again.Remaining > TimeSpan.Zero);
    }

    [Fact]
    public async Task EtcdCannotBeReached_AcquireThrowsInTime_AndNeverSaysThatTheLockIsNotFree()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var client = new QueueClient(Connections.Connect(TimeSpan.FromSeconds(2), proxy.Endpoint), _service, _silo.Grain, Ttl, outage: TimeSpan.FromSeconds(2));
        proxy.Refuse();
        await Assert.ThrowsAsync<EtcdException>(() => client.Locks.GetLock(Name).TryAcquireAsync());
        await Assert.ThrowsAsync<EtcdException>(() => client.Locks.GetLock(Name).TryAcquireAsync(TimeSpan.FromSeconds(1)));
        var clock = Stopwatch.StartNew();
        await Assert.ThrowsAsync<EtcdException>(() => client.Locks.GetLock(Name).AcquireAsync());
        Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(15));
    }

    /// <summary>However many ask at once: each of them ends the sessions of all.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(16)]
    public async Task SilosOnAnotherEtcd_AreToldOf_AndNobodyWaitsForEver(int callers)
    {
        await using var client = new QueueClient(etcd.Server.Connect(), $"{_service}-other", _silo.Grain, ttl: Ttl);
        var calls = Enumerable.Range(0, callers).Select(i => client.Locks.GetLock($"{Name}-{i}").TryAcquireAsync()).ToArray();
        foreach (var call in calls)
            Assert.Contains("another etcd", (await Assert.ThrowsAsync<InvalidOperationException>(() => call.WaitAsync(TimeSpan.FromSeconds(10)))).Message);
    }

    [Fact]
    public async Task SessionThatIsNotOpenedInTime_EndsTheWaitInTime()
    {
        await using var sessions = new LockSessions(
            async stop =>
            {
                await Task.Delay(Timeout.InfiniteTimeSpan, stop);
                throw new InvalidOperationException();
            },
            TimeProvider.System,
            NullLogger<LockSession>.Instance);
        await using var locks = new EtcdLocks(new LockContext(_silo.Grain, sessions, TimeProvider.System)
        {
            Owner = "test",
            ReleaseTimeout = TimeSpan.FromSeconds(5),
            OutageTimeout = TimeSpan.FromSeconds(30),
            MaxCall = LockQueue.CallLimit,
        });
        var since = Stopwatch.StartNew();
        Assert.Contains("no session", (await Assert.ThrowsAsync<TimeoutException>(() => locks.GetLock(Name).TryAcquireAsync())).Message);
        // 6 s, and what a busy machine takes.
        Assert.InRange(since.Elapsed, TimeSpan.FromSeconds(5.9), TimeSpan.FromSeconds(8));
    }

    [Fact]
    public async Task SiloThatStops_EndsAllWaits_AndStillHasWhatIsFree()
    {
        await using var client = Client();
        await using var other = Client();
        await using var busy = await other.Locks.GetLock(Name).AcquireAsync();
        var waiting = client.Locks.GetLock(Name).TryAcquireAsync(TimeSpan.MaxValue);
        await Eventually.IsTrueAsync(async () => (await other.Locks.GetLock(Name).GetStatusAsync()).Waiters == 1, "it waits");
        await client.EndWaitsAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(TimeSpan.FromSeconds(5)));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.Locks.GetLock(Name).AcquireAsync().WaitAsync(TimeSpan.FromSeconds(5)));
        Assert.Null(await client.Locks.GetLock(Name).TryAcquireAsync());
        await using var free = await client.Locks.GetLock("free").AcquireAsync();
        Assert.False(free.LostToken.IsCancellationRequested);
        Assert.Equal(0, (await other.Locks.GetLock(Name).GetStatusAsync()).Waiters);
    }

    /// <summary>Nor does one go on that looks for a session.</summary>
    [Fact]
    public async Task SiloThatStops_WhileEtcdIsAway_EndsAllWaits()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var client = Client(proxy.Endpoint, outage: TimeSpan.FromMinutes(5));
        proxy.Refuse();
        var waiting = client.Locks.GetLock(Name).AcquireAsync();
        await Task.Delay(500);
        await client.EndWaitsAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => waiting.WaitAsync(TimeSpan.FromSeconds(5)));
    }

    [Fact]
    public async Task LeaseRevokedAtEtcd_IsKnownAtOnce()
    {
        await using var client = Client(ttl: TimeSpan.FromSeconds(30));
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        var lost = Stopped(held.LostToken);
        await _silo.Etcd.RevokeAsync(await client.SessionAsync(), CancellationToken.None);
        var revoked = Stopwatch.GetTimestamp();
        Assert.InRange(Stopwatch.GetElapsedTime(revoked, await lost.WaitAsync(TimeSpan.FromSeconds(5))), TimeSpan.FromSeconds(-1), TimeSpan.FromSeconds(1));
        // What is acquired from now on hangs on another session.
        await using var again = await client.Locks.GetLock(Name).AcquireAsync();
        Assert.False(again.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task SessionsKeyDeletedAlone_TheLeaseGoesToo()
    {
        await using var client = Client(ttl: TimeSpan.FromSeconds(30));
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        await _silo.Etcd.DeleteAsync(EtcdKeys.Session("orleans", _service, await client.SessionAsync()) + "state");
        await Stopped(held.LostToken).WaitAsync(TimeSpan.FromSeconds(1));
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 0, "the lock is free");
    }

    [Fact]
    public async Task ForcedRelease_IsKnownAtOnce_ByThatHolderOnly()
    {
        await using var client = Client(ttl: TimeSpan.FromSeconds(30));
        await using var kept = await client.Locks.GetLock("other").AcquireAsync();
        for (var i = 0; i < 3; i++)
        {
            await using var held = await client.Locks.GetLock(Name).AcquireAsync();
            Assert.False(await _silo.Queue(Name).ForceReleaseAsync(kept.FencingToken));
            Assert.True(await _silo.Queue(Name).ForceReleaseAsync(held.FencingToken));
            Assert.False(await _silo.Queue(Name).ForceReleaseAsync(held.FencingToken));
            await Stopped(held.LostToken).WaitAsync(TimeSpan.FromSeconds(1));
            Assert.Equal(TimeSpan.Zero, held.Remaining);
        }

        Assert.False(kept.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task KeyDeletedByHand_IsKnownWithinTwoThirdsOfTheTtl_ByThatHolderOnly()
    {
        await using var client = Client();
        await using var kept = await client.Locks.GetLock("other").AcquireAsync();
        await using var held = await client.Locks.GetLock(Name).AcquireAsync();
        await _silo.Etcd.DeleteAsync(Assert.Single(await KeysAsync()));
        await Stopped(held.LostToken).WaitAsync((Ttl * 2 / 3) + TimeSpan.FromSeconds(1));
        Assert.False(kept.LostToken.IsCancellationRequested);
        // The successor, which another name has, is none of its business.
        await using var next = await client.Locks.GetLock(Name).AcquireAsync();
        await held.DisposeAsync();
        Assert.Single(await KeysAsync());
    }

    /// <summary>As a write leaves it that was applied after everybody had given it up.</summary>
    [Fact]
    public async Task KeyOfTheSessionThatNobodyWants_IsRemoved_OthersAreNot()
    {
        await using var client = Client();
        await using var held = await client.Locks.GetLock("other").AcquireAsync();
        var session = await client.SessionAsync();
        var prefix = EtcdKeys.Lock("orleans", _service, "locks", Name);
        await _silo.Etcd.PutAsync($"{prefix}{session:x}-ghost", "{}", session);
        await _silo.Etcd.PutAsync("somebody/else", "", session);
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 0, "the ghost is removed");
        Assert.NotNull(await _silo.Etcd.GetAsync("somebody/else"));
        Assert.False(held.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task CancelledWait_WhileEtcdIsAway_LeavesNoKey()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var silo = QueueSilo.Start(etcd.Server, _service, proxy.Endpoint);
        await using var client = new QueueClient(etcd.Server.Connect(), _service, silo.Grain, Ttl);
        await using var holder = Client();
        await using var held = await holder.Locks.GetLock(Name).AcquireAsync();
        await client.SessionAsync();
        using var stop = new CancellationTokenSource();
        var queued = client.Locks.GetLock(Name).AcquireAsync(stop.Token);
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 2, "it waits");
        proxy.Stall();
        // One more, whose transaction is under way when it is given up.
        using var brief = new CancellationTokenSource(TimeSpan.FromMilliseconds(300));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.Locks.GetLock(Name).AcquireAsync(brief.Token));
        await stop.CancelAsync();
        var cancelled = Stopwatch.GetTimestamp();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => queued);
        Assert.InRange(Stopwatch.GetElapsedTime(cancelled), TimeSpan.Zero, TimeSpan.FromSeconds(1));
        await Task.Delay(500);
        proxy.Pass();
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 1, "both are gone");
        Assert.False(held.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task Dispose_WhileEtcdIsAway_ReturnsInTime_AndReleasesLater()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var silo = QueueSilo.Start(etcd.Server, _service, proxy.Endpoint);
        await using var client = new QueueClient(etcd.Server.Connect(), _service, silo.Grain, TimeSpan.FromSeconds(60));
        var held = await client.Locks.GetLock(Name).AcquireAsync();
        proxy.Stall();
        var clock = Stopwatch.StartNew();
        await Task.WhenAll(held.DisposeAsync().AsTask(), held.DisposeAsync().AsTask());
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(6));
        Assert.Single(await KeysAsync());
        proxy.Pass();
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 0, "it is released");
        Assert.False(held.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task EndOfTheProcess_FreesAllAtOnce_AndTellsWhoStillHolds()
    {
        var client = Client(ttl: TimeSpan.FromSeconds(60));
        var held = await client.Locks.GetLock(Name).AcquireAsync();
        await using var other = Client();
        var next = other.Locks.GetLock(Name).AcquireAsync();
        await Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == 2, "it waits");
        await client.DisposeAsync();
        Assert.True(held.LostToken.IsCancellationRequested);
        await held.DisposeAsync();
        await using var got = await next.WaitAsync(TimeSpan.FromSeconds(2));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => client.Locks.GetLock(Name).AcquireAsync());
    }

    private QueueClient Client(Uri? through = null, TimeSpan? ttl = null, TimeSpan? outage = null) =>
        new(etcd.Server.Connect(through: through), _service, _silo.Grain, ttl ?? Ttl, outage);

    private async Task<IReadOnlyList<string>> KeysAsync() =>
        [.. (await _silo.Etcd.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", _service, "locks", Name)))).Kvs.Select(kv => kv.Key.ToStringUtf8())];

    /// <summary>When the lock's only key was deleted.</summary>
    private async Task<long> DeletedAsync()
    {
        await using var view = new LiveView(_silo.Etcd, EtcdKeys.Lock("orleans", _service, "locks", Name));
        await view.WaitAsync(snapshot => snapshot.Values.Count == 1, CancellationToken.None);
        await view.WaitAsync(snapshot => snapshot.Values.Count == 0, CancellationToken.None);
        return Stopwatch.GetTimestamp();
    }

    /// <summary>When a token was cancelled.</summary>
    private static Task<long> Stopped(CancellationToken token)
    {
        var stopped = new TaskCompletionSource<long>(TaskCreationOptions.RunContinuationsAsynchronously);
        token.Register(() => stopped.TrySetResult(Stopwatch.GetTimestamp()));
        return stopped.Task;
    }
}
