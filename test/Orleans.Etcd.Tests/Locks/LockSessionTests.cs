using System.Collections.Immutable;
using System.Diagnostics;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>The session under its handles: what happens in between that no user can bring about at will.</summary>
public sealed class LockSessionTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(15);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private QueueSilo _silo = null!;

    public Task InitializeAsync()
    {
        _silo = QueueSilo.Start(etcd.Server, _service);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync() => await _silo.DisposeAsync();

    [Fact]
    public async Task RequestAppliedLongAfterItsRelease_IsRemoved_ThoughNothingElseIsWanted()
    {
        var time = new FakeTimeProvider();
        await using var session = await OpenAsync(time);
        var request = Want(session);
        var queue = _silo.Queue("lock");
        await queue.ReleaseAsync(request, (await queue.AcquireAsync(request)).Token);
        session.Forget("lock", request, isClean: true);
        // All looks that it takes when something has just been released.
        for (var look = 0; look < 5; look++)
            await LookAsync(time);
        // As a member applies it that was frozen all the time.
        var key = Key(request);
        await _silo.Etcd.PutAsync(key, "{}", session.Id);
        await Eventually.IsTrueAsync(
            async () =>
            {
                await LookAsync(time);
                return await _silo.Etcd.GetAsync(key) is null;
            },
            "it is removed");
        Assert.False(session.HasEnded);
        Assert.NotEqual(request.RequestId, Want(session).RequestId);
    }

    [Fact]
    public async Task StrangerThatIsWantedAgain_IsNoStranger()
    {
        var time = new FakeTimeProvider();
        await using var session = await OpenAsync(time);
        var request = Want(session);
        session.Forget("lock", request, isClean: true);
        await _silo.Etcd.PutAsync(Key(request), "{}", session.Id);
        await LookAsync(time);
        // It takes over what an attempt before it has left.
        var again = Want(session);
        Assert.Equal(request.RequestId, again.RequestId);
        var answer = await _silo.Queue("lock").AcquireAsync(again);
        Assert.Equal(LockOutcome.Granted, answer.Outcome);
        for (var look = 0; look < 5; look++)
            await LookAsync(time);
        Assert.NotNull(await _silo.Etcd.GetAsync(Key(again)));
    }

    [Fact]
    public async Task IdOfWhatWasLost_OrNotReleasedCleanly_IsNotUsedAgain()
    {
        await using var session = await OpenAsync();
        var (unclean, lost) = (Want(session), Want(session));
        session.Forget("lock", unclean, isClean: false);
        var handle = Handle(session, LockLayout.Entry(lost), 7);
        Assert.True(session.Hold(handle));
        await _silo.Etcd.PutAsync(EtcdKeys.Session("orleans", _service, session.Id) + $"forced/{handle.Entry}/7", "", session.Id);
        await Eventually.IsTrueAsync(() => handle.LostToken.IsCancellationRequested, "it is lost");
        // Its release was under way and is confirmed now.
        session.Forget("lock", lost, isClean: true);
        LockRequest[] next = [Want(session), Want(session), Want(session)];
        Assert.DoesNotContain(next, request => request.RequestId == unclean.RequestId || request.RequestId == lost.RequestId);
    }

    [Fact]
    public async Task LocksOfOneToken_AreLostOneByOne_WhateverIsLookedAtInBetween()
    {
        var time = new FakeTimeProvider();
        await using var session = await OpenAsync(time);
        var (one, other) = (session.Want("one", Template), session.Want("other", Template));
        // As those are that were entered in one transaction.
        var (first, second) = (Handle(session, LockLayout.Entry(one), 7), Handle(session, LockLayout.Entry(other), 7));
        Assert.True(session.Hold(first) && session.Hold(second));
        await _silo.Etcd.PutAsync(Key("one", one), "{}", session.Id);
        await ForceAsync(second);
        for (var look = 0; look < 5; look++)
            await LookAsync(time);
        Assert.False(first.LostToken.IsCancellationRequested);
        await ForceAsync(first);

        async Task ForceAsync(LockHandle handle)
        {
            await _silo.Etcd.PutAsync(EtcdKeys.Session("orleans", _service, session.Id) + $"forced/{handle.Entry}/7", "", session.Id);
            await Eventually.IsTrueAsync(() => handle.LostToken.IsCancellationRequested, "it is lost");
        }
    }

    [Fact]
    public async Task MissingKeysOfTwoHolds_UnderOneName_AreNotTakenForOne()
    {
        var time = new FakeTimeProvider();
        var link = new BlindLink(await EtcdSessionLink.OpenAsync(new SessionStore(_silo.Etcd, _service), Ttl, "test", CancellationToken.None));
        await using var session = new LockSession(link, time, NullLogger<LockSession>.Instance);
        var first = Want(session);
        Assert.True(session.Hold(Handle(session, LockLayout.Entry(first), 1)));
        await LookAsync(time);
        session.Forget("lock", first, isClean: true);
        var second = Want(session);
        Assert.Equal(first.RequestId, second.RequestId);
        var handle = Handle(session, LockLayout.Entry(second), 2);
        Assert.True(session.Hold(handle));
        await LookAsync(time);
        Assert.False(handle.LostToken.IsCancellationRequested, "it was missing once only");
        await LookAsync(time);
        await Eventually.IsTrueAsync(() => handle.LostToken.IsCancellationRequested, "what is missing twice is lost");
    }

    [Fact]
    public async Task ForcedRelease_OfWhatItsOwnerHasNotHeardOfYet_IsNotMissed()
    {
        await using var session = await OpenAsync();
        var request = Want(session);
        var answer = await _silo.Queue("lock").AcquireAsync(request);
        Assert.True(await _silo.Queue("lock").ForceReleaseAsync(answer.Token));
        var handle = Handle(session, LockLayout.Entry(request), answer.Token);
        await Eventually.IsTrueAsync(() => !session.Hold(handle) || handle.LostToken.IsCancellationRequested, "it is not held");
    }

    [Fact]
    public async Task LeaseThatIsLostAlready_EndsTheSessionInGoodOrder()
    {
        for (var i = 0; i < 100; i++)
        {
            var link = await EtcdSessionLink.OpenAsync(new SessionStore(_silo.Etcd, _service), Ttl, "test", CancellationToken.None);
            link.Lease.Abandon();
            await Eventually.IsTrueAsync(() => link.Lease.Lost.IsCancellationRequested, "it is lost");
            var session = new LockSession(link, TimeProvider.System, NullLogger<LockSession>.Instance);
            await session.DisposeAsync();
            Assert.True(session.HasEnded);
        }
    }

    [Fact]
    public async Task PlannedEnd_OfManyHolds_TellsAllBeforeEtcdFreesThem()
    {
        await using var session = await OpenAsync();
        var told = 0L;
        for (var i = 0; i < 10_000; i++)
        {
            var handle = Handle(session, LockLayout.Entry(Want(session)), i + 1);
            Assert.True(session.Hold(handle));
            handle.LostToken.UnsafeRegister(_ => Interlocked.Exchange(ref told, Stopwatch.GetTimestamp()), null);
        }

        await using var view = new LiveView(_silo.Etcd, EtcdKeys.Session("orleans", _service, session.Id));
        await view.WaitAsync(snapshot => snapshot.Values.Count > 0, CancellationToken.None);
        var freed = Detached.Run(async () => await view.WaitAsync(snapshot => snapshot.Values.Count == 0, CancellationToken.None));
        var at = freed.ContinueWith(_ => Stopwatch.GetTimestamp(), TaskScheduler.Default);
        await session.DisposeAsync();
        Assert.True(Interlocked.Read(ref told) < await at, "etcd freed them before the last was told");
    }

    [Fact]
    public async Task CallbackThatThrows_HoldsUpNobody()
    {
        var session = await OpenAsync();
        var (bad, good) = (Handle(session, LockLayout.Entry(Want(session)), 1), Handle(session, LockLayout.Entry(Want(session)), 2));
        bad.LostToken.Register(() => throw new InvalidOperationException("of a user's"));
        Assert.True(session.Hold(bad) && session.Hold(good));
        await session.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(5));
        Assert.True(good.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task Fence_TakesAsManyOperationsAsEtcdDoes_AndOnlyRisingTokens()
    {
        Assert.True(await WriteAsync(5, 127));
        Assert.True(await WriteAsync(5, 127));
        Assert.False(await WriteAsync(4, 1));
        Assert.True(await WriteAsync(long.MaxValue - 1, 1));
        Assert.False(await WriteAsync(6, 1));
        Assert.Contains("127", (await Assert.ThrowsAsync<ArgumentException>(() => WriteAsync(7, 128))).Message);
        await Assert.ThrowsAnyAsync<ArgumentException>(() => WriteAsync(0, 1));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => FencedWrite.PutAsync(_silo.Etcd, "", 1, "key", default));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => FencedWrite.PutAsync(_silo.Etcd, "fence", 1, "", default));

        Task<bool> WriteAsync(long token, int operations) => FencedWrite.TxnAsync(
            _silo.Etcd,
            _service,
            token,
            Enumerable.Range(0, operations).Select(i => Txn.Put(ByteString.CopyFromUtf8($"{_service}/{i}"), ByteString.CopyFromUtf8($"{token}"))));
    }

    private static LockRequest Template => new() { Session = 1, RequestId = "-" };

    private static LockRequest Want(LockSession session) => session.Want("lock", Template);

    private string Key(LockRequest request) => Key("lock", request);

    private string Key(string name, LockRequest request) => EtcdKeys.Lock("orleans", _service, "locks", name) + LockLayout.Entry(request);

    private static LockHandle Handle(LockSession session, string entry, long token) =>
        new("lock", entry, token, session, _ => Task.CompletedTask, new("kind", "mutex"), held: null);

    /// <summary>Lets a third of the TTL pass, and the look happen.</summary>
    private static async Task LookAsync(FakeTimeProvider time)
    {
        time.Advance((Ttl / 3) + TimeSpan.FromMilliseconds(1));
        await Task.Delay(50);
    }

    private async Task<LockSession> OpenAsync(TimeProvider? time = null) => new(
        await EtcdSessionLink.OpenAsync(new SessionStore(_silo.Etcd, _service), Ttl, "test", CancellationToken.None),
        time ?? TimeProvider.System,
        NullLogger<LockSession>.Instance);

    /// <summary>Asks a member that knows of no key yet.</summary>
    private sealed class BlindLink(ILockSessionLink link) : ILockSessionLink
    {
        public EtcdLease Lease => link.Lease;

        public long Revision => link.Revision;

        public Task<LockSessionState> WatchAsync(int known, CancellationToken cancellationToken) => link.WatchAsync(known, cancellationToken);

        public Task<ImmutableArray<string>> KeysAsync(CancellationToken cancellationToken) => Task.FromResult(ImmutableArray<string>.Empty);

        public Task RemoveAsync(string key, CancellationToken cancellationToken) => link.RemoveAsync(key, cancellationToken);

        public ValueTask DisposeAsync() => link.DisposeAsync();
    }
}
