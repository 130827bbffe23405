using Etcdserverpb;
using Microsoft.Extensions.Time.Testing;
using Mvccpb;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Requests that come to a busy lock, and whose places are made by the next release. The time stands still, so that it is busy.</summary>
public sealed class LockAlongTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const string Name = "lock";
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(5);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private readonly FakeTimeProvider _time = new();
    private QueueSilo _silo = null!;
    private long _session;
    private int _requests;

    public async Task InitializeAsync()
    {
        _silo = QueueSilo.Start(etcd.Server, _service, time: _time);
        _session = await SessionAsync();
    }

    public async Task DisposeAsync() => await _silo.DisposeAsync();

    [Fact]
    public async Task Release_MakesThePlaceOfOneWhoCame_InTheSameRevision()
    {
        var (holder, token, next) = await BusyAsync();
        var (first, second) = (Wait(), Wait());
        await Task.Delay(100);
        Assert.Equal(2, (await KeysAsync()).Count);
        var before = await etcd.Server.GetRevisionAsync();
        Assert.True(await _silo.Queue(Name).ReleaseAsync(holder, token));
        Assert.Equal(before + 1, await etcd.Server.GetRevisionAsync());
        Assert.Equal(LockOutcome.Granted, (await next).Outcome);
        var keys = await KeysAsync();
        Assert.Equal(2, keys.Count);
        Assert.Equal((await next).Token, keys[0].CreateRevision);
        Assert.Equal(before + 1, keys[1].CreateRevision);
        Assert.False(first.IsCompleted || second.IsCompleted);
    }

    [Fact]
    public async Task WhereNoReleaseComes_ThePlaceIsMadeByItself()
    {
        await BusyAsync();
        _ = Wait();
        await Task.Delay(100);
        Assert.Equal(2, (await KeysAsync()).Count);
        _time.Advance(TimeSpan.FromMilliseconds(5));
        await UntilKeysAsync(3);
        // Nor is anybody kept where the last release is long past.
        _time.Advance(TimeSpan.FromMilliseconds(1));
        _ = Wait();
        await UntilKeysAsync(4);
    }

    [Fact]
    public async Task WhoseSessionIsGone_LetsTheReleaseSucceed()
    {
        var (holder, token, next) = await BusyAsync();
        var gone = await SessionAsync();
        var wait = Wait(gone);
        await _silo.Etcd.RevokeAsync(gone, CancellationToken.None);
        Assert.True(await _silo.Queue(Name).ReleaseAsync(holder, token));
        Assert.Equal(LockOutcome.Granted, (await next).Outcome);
        Assert.Equal(LockOutcome.SessionLost, (await wait.WaitAsync(TimeSpan.FromSeconds(5))).Outcome);
        Assert.Single(await KeysAsync());
    }

    [Fact]
    public async Task ReleaseUnderAnOldToken_MakesThePlaceToo()
    {
        var (holder, token, _) = await BusyAsync();
        _ = Wait();
        Assert.False(await _silo.Queue(Name).ReleaseAsync(holder, token - 1));
        await UntilKeysAsync(3);
    }

    [Fact]
    public async Task CopyOfTheReleasedRequest_IsNotGranted()
    {
        var (holder, token, next) = await BusyAsync();
        var copy = _silo.Queue(Name).AcquireAsync(holder with { MaxWait = Long });
        Assert.True(await _silo.Queue(Name).ReleaseAsync(holder, token));
        Assert.Equal(LockOutcome.Granted, (await next).Outcome);
        _time.Advance(TimeSpan.FromMilliseconds(5));
        // What it has made is its session's to find, since it may be the next request's by now.
        Assert.Equal(LockOutcome.Ended, (await copy.WaitAsync(TimeSpan.FromSeconds(5))).Outcome);
        Assert.Equal((await next).Token, (await KeysAsync())[0].CreateRevision);
    }

    [Fact]
    public async Task CancelledWhileItWaitsToBeTakenAlong_LeavesNoKey()
    {
        var (holder, token, next) = await BusyAsync();
        var request = NewRequest(_session);
        var wait = _silo.Queue(Name).AcquireAsync(request with { MaxWait = Long });
        await _silo.Queue(Name).CancelAsync(request);
        Assert.True(await _silo.Queue(Name).ReleaseAsync(holder, token));
        Assert.Equal(LockOutcome.Granted, (await next).Outcome);
        Assert.Equal(LockOutcome.Ended, (await wait.WaitAsync(TimeSpan.FromSeconds(5))).Outcome);
        await UntilKeysAsync(1);
    }

    /// <summary>A lock that was just released, is held, and waited for.</summary>
    private async Task<(LockRequest Holder, long Token, Task<LockAnswer> Next)> BusyAsync()
    {
        var (first, holder) = (NewRequest(_session), NewRequest(_session));
        var token = (await _silo.Queue(Name).AcquireAsync(first)).Token;
        var held = _silo.Queue(Name).AcquireAsync(holder with { MaxWait = Long });
        await UntilKeysAsync(2);
        var next = Wait();
        await Eventually.IsTrueAsync(() => _silo.Queue(Name).Known is (3, _, 2), "the queue's own view shows them too");
        Assert.True(await _silo.Queue(Name).ReleaseAsync(first, token));
        return (holder, (await held.WaitAsync(TimeSpan.FromSeconds(5))).Token, next);
    }

    private Task<LockAnswer> Wait(long? session = null) => _silo.Queue(Name).AcquireAsync(NewRequest(session ?? _session) with { MaxWait = Long });

    private LockRequest NewRequest(long session) => new() { Session = session, RequestId = $"{Interlocked.Increment(ref _requests)}" };

    private async Task<long> SessionAsync() => (await _silo.Etcd.GrantAsync(new LeaseGrantRequest { TTL = 120 }, CancellationToken.None)).ID;

    private Task UntilKeysAsync(int count) => Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == count, $"{count} keys are queued");

    private async Task<IReadOnlyList<KeyValue>> KeysAsync() =>
        [.. (await _silo.Etcd.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", _service, "locks", Name)))).Kvs.OrderBy(kv => kv.CreateRevision)];
}
