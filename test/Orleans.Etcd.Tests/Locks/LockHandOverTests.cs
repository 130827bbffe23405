using System.Collections.Concurrent;
using Etcdserverpb;
using Mvccpb;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>
/// Turns that are told before etcd has written the release: what the one before has given up counts at once for the only call of a wish
/// that waits at the same queue, and for nobody else. The queue reaches etcd through a proxy that holds back what it says.
/// </summary>
public sealed class LockHandOverTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const string Name = "lock";
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(5);
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(2);

    // Of what is not to happen; shorter than a connection keeps trying.
    private static readonly TimeSpan AWhile = TimeSpan.FromMilliseconds(500);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private TcpProxy _proxy = null!;
    private QueueSilo _near = null!;
    private QueueSilo _far = null!;
    private int _requests;

    public Task InitializeAsync()
    {
        _proxy = TcpProxy.Start(etcd.Server.Endpoint);
        _near = QueueSilo.Start(etcd.Server, _service, _proxy.Endpoint);
        _far = QueueSilo.Start(etcd.Server, _service);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        _proxy.Pass();
        await _near.DisposeAsync();
        await _far.DisposeAsync();
        await _proxy.DisposeAsync();
    }

    [Fact]
    public async Task Next_IsToldBeforeEtcdIs_AndSoIsWhoComesAfter_AndNobodyElse()
    {
        var (holder, token) = await HoldAsync();
        var (first, second) = (await WaitAsync(2), await WaitAsync(3));
        var other = _far.Queue(Name).AcquireAsync(await NewRequestAsync());
        await UntilKeysAsync(4);
        var tokens = (await KeysAsync()).Select(key => key.CreateRevision).ToArray();
        _proxy.Stall();

        var releases = new List<Task<bool>> { _near.Queue(Name).ReleaseAsync(holder, token) };
        Assert.Equal(new LockAnswer(LockOutcome.Granted, tokens[1]), await first.Answer.WaitAsync(Soon));
        Assert.False(second.Answer.IsCompleted);
        releases.Add(_near.Queue(Name).ReleaseAsync(first.Request, tokens[1]));
        Assert.Equal(new LockAnswer(LockOutcome.Granted, tokens[2]), await second.Answer.WaitAsync(Soon));
        Assert.Equal(4, (await KeysAsync()).Count);
        Assert.Equal(LockOutcome.NotFree, (await _far.Queue(Name).AcquireAsync((await NewRequestAsync()) with { MaxWait = TimeSpan.Zero })).Outcome);
        Assert.DoesNotContain(releases, release => release.IsCompleted);

        _proxy.Pass();
        Assert.All(await Task.WhenAll(releases), Assert.True);
        Assert.Equal(tokens[2..], (await KeysAsync()).Select(key => key.CreateRevision));
        Assert.False(other.IsCompleted);
        Assert.True(await _near.Queue(Name).ReleaseAsync(second.Request, tokens[2]));
        Assert.Equal(new LockAnswer(LockOutcome.Granted, tokens[3]), await other.WaitAsync(Soon));
    }

    /// <summary>Who comes between two that wait here, and waits elsewhere, is not passed over.</summary>
    [Fact]
    public async Task NextThatWaitsElsewhere_IsWaitedFor()
    {
        var (holder, token) = await HoldAsync();
        var elsewhere = await NewRequestAsync();
        var next = _far.Queue(Name).AcquireAsync(elsewhere);
        await UntilKeysAsync(2);
        var here = await WaitAsync(3);
        Assert.True(await _near.Queue(Name).ReleaseAsync(holder, token));
        var granted = await next.WaitAsync(Soon);
        Assert.Equal(LockOutcome.Granted, granted.Outcome);
        await Task.Delay(AWhile);
        Assert.False(here.Answer.IsCompleted);
        Assert.True(await _far.Queue(Name).ReleaseAsync(elsewhere, granted.Token));
        Assert.Equal(LockOutcome.Granted, (await here.Answer.WaitAsync(Soon)).Outcome);
    }

    [Fact]
    public async Task ReadersThatWaitTogether_AreToldTogether()
    {
        var (holder, token) = await HoldAsync(LockKind.ReadWrite);
        var one = await WaitAsync(2, LockKind.ReadWrite, template => template with { IsRead = true });
        var two = await WaitAsync(3, LockKind.ReadWrite, template => template with { IsRead = true });
        var writer = await WaitAsync(4, LockKind.ReadWrite);
        _proxy.Stall();
        var releasing = _near.Queue(LockKind.ReadWrite, Name).ReleaseAsync(holder, token);
        Assert.Equal([LockOutcome.Granted, LockOutcome.Granted], (await Task.WhenAll(one.Answer, two.Answer).WaitAsync(Soon)).Select(answer => answer.Outcome));
        Assert.False(writer.Answer.IsCompleted || releasing.IsCompleted);
        _proxy.Pass();
        Assert.True(await releasing);
        Assert.False(writer.Answer.IsCompleted);
    }

    /// <summary>An older call of the same wish, at whichever queue, may yet remove or mark the place while etcd has those before it.</summary>
    [Theory]
    [InlineData(Older.Call)]
    [InlineData(Older.CallElsewhere)]
    [InlineData(Older.CallHere)]
    [InlineData(Older.CallThatLeftItsMark)]
    public async Task WhereThereMayBeAnOlderCall_EtcdHasToHaveWrittenIt(Older older)
    {
        var (holder, token) = await HoldAsync();
        var wish = await NewRequestAsync();
        var calls = new List<Task<LockAnswer>>();
        if (older is Older.CallElsewhere or Older.CallHere)
        {
            calls.Add((older == Older.CallHere ? _near : _far).Queue(Name).AcquireAsync(wish));
            await UntilKeysAsync(2);
        }

        // What says that it is the first is not believed where it finds another's place, or another call.
        calls.Add(_near.Queue(Name).AcquireAsync(wish with { IsFirstCall = older != Older.Call }));
        await UntilKnownAsync(shown: 2, calls: older == Older.CallHere ? 2 : 1);
        if (older == Older.CallThatLeftItsMark)
        {
            var own = (await KeysAsync())[1];
            await _far.Etcd.PutAsync(new PutRequest { Key = own.Key, Value = new LockValue { Waiting = true }.Encode(), Lease = own.Lease });
            // Later than the mark in the same view.
            _ = _near.Queue(Name).AcquireAsync(await NewRequestAsync());
            await UntilKnownAsync(shown: 3, calls: 2);
        }

        _proxy.Stall();
        var releasing = _near.Queue(Name).ReleaseAsync(holder, token);
        await Task.Delay(AWhile);
        Assert.DoesNotContain(calls, call => call.IsCompleted);
        _proxy.Pass();
        Assert.True(await releasing);
        Assert.All(await Task.WhenAll(calls).WaitAsync(Soon), answer => Assert.Equal(LockOutcome.Granted, answer.Outcome));
    }

    /// <summary>
    /// A client of Orleans sends again what it was sending when its connection broke, and both may arrive. While etcd still has who was before it,
    /// the copy finds a place that waits, and that its owner may hold: it neither removes nor marks it.
    /// </summary>
    [Theory]
    [InlineData(200, false)]
    [InlineData(200, true)]
    [InlineData(60_000, false)]
    [InlineData(60_000, true)]
    public async Task CopyOfTheCall_LeavesAPlaceThatWasHandedOver(int wait, bool elsewhere)
    {
        var (holder, token) = await HoldAsync();
        var next = await WaitAsync(2);
        var copy = next.Request with { MaxWait = TimeSpan.FromMilliseconds(wait), MaxCall = TimeSpan.FromMilliseconds(200) };
        Task<LockAnswer>? copied = null;
        if (!elsewhere)
            await (copied = _near.Queue(Name).AcquireAsync(copy));
        _proxy.Stall();
        var releasing = _near.Queue(Name).ReleaseAsync(holder, token);
        if (elsewhere)
        {
            Assert.Equal(LockOutcome.Granted, (await next.Answer.WaitAsync(Soon)).Outcome);
            copied = _far.Queue(Name).AcquireAsync(copy);
        }

        Assert.Equal(LockOutcome.Queued, (await copied!.WaitAsync(Soon)).Outcome);
        var own = (await KeysAsync())[1];
        Assert.Equal(1, own.Version);
        _proxy.Pass();
        Assert.True(await releasing);
        Assert.Equal(new LockAnswer(LockOutcome.Granted, own.CreateRevision), await next.Answer.WaitAsync(Soon));
    }

    /// <summary>Nor does a copy of an earlier wish under the same name, which may wait no longer, or not at all.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CopyOfAnEarlierWish_LeavesAPlaceThatWasHandedOver(bool elsewhere)
    {
        var (holder, token) = await HoldAsync();
        var next = await WaitAsync(2, change: request => request with { Attempt = 2 });
        var (queue, copy) = ((elsewhere ? _far : _near).Queue(Name), next.Request with { Attempt = 1, IsFirstCall = false, MaxCall = TimeSpan.FromMilliseconds(200) });
        if (!elsewhere)
            await AskAsync();
        _proxy.Stall();
        var releasing = _near.Queue(Name).ReleaseAsync(holder, token);
        Assert.Equal(LockOutcome.Granted, (await next.Answer.WaitAsync(Soon)).Outcome);
        if (elsewhere)
            await AskAsync();
        Assert.Equal(1, (await KeysAsync())[1].Version);
        _proxy.Pass();
        Assert.True(await releasing);

        async Task AskAsync()
        {
            foreach (var wait in new[] { TimeSpan.Zero, TimeSpan.FromMilliseconds(100), Long })
                Assert.Equal(LockOutcome.Ended, (await queue.AcquireAsync(copy with { MaxWait = wait }).WaitAsync(Soon)).Outcome);
            Assert.False(await queue.ReleaseAsync(copy, token));
            Assert.Equal(2, (await KeysAsync()).Count);
        }
    }

    /// <summary>A release that etcd does not know of counts for those who may be handed over only: others' older calls still find a place before theirs.</summary>
    [Fact]
    public async Task ReleaseThatFailed_DoesNotCount_WhereThereMayBeAnOlderCall()
    {
        var kind = LockKind.ReadWrite;
        var (reader, other) = (await NewRequestAsync() with { IsRead = true }, await NewRequestAsync() with { IsRead = true });
        var token = (await _near.Queue(kind, Name).AcquireAsync(reader)).Token;
        var otherToken = (await _near.Queue(kind, Name).AcquireAsync(other)).Token;
        var writer = _near.Queue(kind, Name).AcquireAsync(await NewRequestAsync() with { IsFirstCall = false });
        await UntilKnownAsync(shown: 3, calls: 1, kind);
        _proxy.Refuse();
        await Assert.ThrowsAsync<EtcdException>(() => _near.Queue(kind, Name).ReleaseAsync(reader, token));
        _proxy.Pass();
        Assert.True(await _near.Queue(kind, Name).ReleaseAsync(other, otherToken));
        await Task.Delay(AWhile);
        Assert.False(writer.IsCompleted);
        Assert.Equal(2, (await KeysAsync(kind)).Count);
        Assert.True(await _near.Queue(kind, Name).ReleaseAsync(reader, token));
        Assert.Equal(LockOutcome.Granted, (await writer.WaitAsync(Soon)).Outcome);
    }

    [Fact]
    public async Task WrongToken_HandsNothingOver()
    {
        var (holder, token) = await HoldAsync();
        var next = await WaitAsync(2);
        // One that was before, one that the view knows to be none, and one that it is too old to know of.
        foreach (var wrong in new[] { token - 1, token + 1, token + 1_000_000 })
            Assert.False(await _near.Queue(Name).ReleaseAsync(holder, wrong));
        await Task.Delay(AWhile);
        Assert.False(next.Answer.IsCompleted);
        Assert.True(await _near.Queue(Name).ReleaseAsync(holder, token));
        Assert.Equal(LockOutcome.Granted, (await next.Answer.WaitAsync(Soon)).Outcome);
    }

    [Fact]
    public async Task AskedAgain_FindsWhatWasHandedOver()
    {
        var (holder, token) = await HoldAsync();
        var next = await WaitAsync(2);
        _proxy.Stall();
        var releasing = _near.Queue(Name).ReleaseAsync(holder, token);
        var granted = await next.Answer.WaitAsync(Soon);
        _proxy.Pass();
        Assert.True(await releasing);
        foreach (var silo in new[] { _near, _far })
            Assert.Equal(granted, await silo.Queue(Name).AcquireAsync(next.Request with { IsFirstCall = false, MaxWait = TimeSpan.Zero }));
        Assert.Equal(granted.Token, Assert.Single(await KeysAsync()).CreateRevision);
    }

    [Fact]
    public async Task Semaphore_EachRelease_LetsOneIn()
    {
        var kind = LockKind.Semaphore;
        var held = new List<(LockRequest Request, long Token)>();
        for (var i = 0; i < 2; i++)
        {
            var request = await NewRequestAsync() with { Permits = 2 };
            held.Add((request, (await _near.Queue(kind, Name).AcquireAsync(request)).Token));
        }

        var waits = new List<Task<LockAnswer>>();
        for (var i = 0; i < 3; i++)
            waits.Add((await WaitAsync(3 + i, kind, template => template with { Permits = 2 })).Answer);
        _proxy.Stall();
        var releases = new List<Task<bool>>();
        for (var i = 0; i < 2; i++)
        {
            // The second is released first: any permit will do.
            releases.Add(_near.Queue(kind, Name).ReleaseAsync(held[1 - i].Request, held[1 - i].Token));
            Assert.Equal(LockOutcome.Granted, (await waits[i].WaitAsync(Soon)).Outcome);
            Assert.False(waits[i + 1].IsCompleted);
        }

        _proxy.Pass();
        Assert.All(await Task.WhenAll(releases), Assert.True);
        Assert.Equal(3, (await KeysAsync(kind)).Count);
        Assert.False(waits[2].IsCompleted);
    }

    /// <summary>What a view that hears nothing shows is not handed over.</summary>
    [Fact]
    public async Task WhereTheWatchIsBroken_EtcdHasToHaveWrittenIt()
    {
        var (holder, token) = await HoldAsync();
        var next = await WaitAsync(2);
        _proxy.Refuse();
        await Eventually.IsTrueAsync(() => !_near.Queue(Name).Known.IsLive, "the watch has noticed");
        var releasing = _near.Queue(Name).ReleaseAsync(holder, token);
        await Task.Delay(AWhile);
        Assert.False(next.Answer.IsCompleted);
        _proxy.Pass();
        Assert.True(await releasing);
        Assert.Equal(LockOutcome.Granted, (await next.Answer.WaitAsync(Soon)).Outcome);
    }

    /// <summary>A wish asked again and again is told of its turn at once in its first call only.</summary>
    [Fact]
    public async Task OnlyTheFirstCallOfAWish_SaysThatItIs()
    {
        var (holder, token) = await HoldAsync();
        var calls = new ConcurrentQueue<bool>();
        await using var client = new QueueClient(etcd.Server.Connect(), _service, (kind, name) => new Listening(_far.Grain(kind, name), calls), maxCall: TimeSpan.FromMilliseconds(50));
        var waiting = client.Locks.GetLock(Name).AcquireAsync();
        await Eventually.IsTrueAsync(() => calls.Count > 3, "it asks again");
        Assert.True(await _near.Queue(Name).ReleaseAsync(holder, token));
        await using (await waiting)
            Assert.Equal(calls.Select((_, number) => number == 0), calls);
        await using (await client.Locks.GetLock(Name).AcquireAsync())
            Assert.Equal(2, calls.Count(isFirst => isFirst));
    }

    public enum Older
    {
        Call,
        CallElsewhere,
        CallHere,
        CallThatLeftItsMark,
    }

    private async Task<(LockRequest Request, long Token)> HoldAsync(LockKind kind = LockKind.Mutex)
    {
        var request = await NewRequestAsync();
        return (request, (await _near.Queue(kind, Name).AcquireAsync(request)).Token);
    }

    /// <summary>One that waits here, and is shown by the queue's own view as one of so many.</summary>
    private async Task<(LockRequest Request, Task<LockAnswer> Answer)> WaitAsync(int place, LockKind kind = LockKind.Mutex, Func<LockRequest, LockRequest>? change = null)
    {
        var request = await NewRequestAsync();
        if (change is not null)
            request = change(request);
        var (_, _, calls) = _near.Queue(kind, Name).Known;
        var answer = _near.Queue(kind, Name).AcquireAsync(request);
        await UntilKnownAsync(place, calls + 1, kind);
        return (request, answer);
    }

    private Task UntilKnownAsync(int shown, int calls, LockKind kind = LockKind.Mutex) =>
        Eventually.IsTrueAsync(() => _near.Queue(kind, Name).Known == (shown, true, calls), $"the queue's own view shows {shown}, and {calls} calls wait");

    private Task UntilKeysAsync(int count, LockKind kind = LockKind.Mutex) => Eventually.IsTrueAsync(async () => (await KeysAsync(kind)).Count == count, $"{count} keys are queued");

    private async Task<IReadOnlyList<KeyValue>> KeysAsync(LockKind kind = LockKind.Mutex) =>
        [.. (await _far.Etcd.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", _service, kind switch { LockKind.Semaphore => "semaphores", LockKind.ReadWrite => "rwlocks", _ => "locks" }, Name)))).Kvs.OrderBy(kv => kv.CreateRevision)];

    /// <summary>The first call of a wish of a process of its own, which waits.</summary>
    private async Task<LockRequest> NewRequestAsync() => new()
    {
        Session = (await _far.Etcd.GrantAsync(new LeaseGrantRequest { TTL = 120 }, CancellationToken.None)).ID,
        RequestId = $"{Interlocked.Increment(ref _requests)}",
        MaxWait = Long,
        IsFirstCall = true,
    };

    private sealed class Listening(ILockQueueGrain grain, ConcurrentQueue<bool> calls) : ILockQueueGrain
    {
        public Task<LockAnswer> Acquire(LockRequest request)
        {
            calls.Enqueue(request.IsFirstCall);
            return grain.Acquire(request);
        }

        public Task<bool> Release(LockRequest request, long token) => grain.Release(request, token);

        public Task Cancel(LockRequest request) => grain.Cancel(request);

        public Task<LockStatus> GetStatus() => grain.GetStatus();

        public Task<bool> ForceRelease(long token) => grain.ForceRelease(token);
    }
}
