using Etcdserverpb;
using Mvccpb;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Two queues for one lock, as two activations of its grain would have them, and requests that come twice, late or never again.</summary>
public sealed class LockQueueTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const string Name = "lock";
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(5);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private readonly List<long> _leases = [];
    private QueueSilo _one = null!;
    private QueueSilo _two = null!;
    private int _requests;

    public Task InitializeAsync()
    {
        _one = QueueSilo.Start(etcd.Server, _service);
        _two = QueueSilo.Start(etcd.Server, _service);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        foreach (var lease in _leases)
            await _one.Etcd.RevokeAsync(lease, CancellationToken.None).ContinueWith(_ => { }, TaskScheduler.Default);
        await _one.DisposeAsync();
        await _two.DisposeAsync();
    }

    [Fact]
    public async Task SameRequest_AskedOfBoth_IsGrantedOnceWithOneToken()
    {
        var request = await NewRequestAsync();
        var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => (i % 2 == 0 ? _one : _two).Queue(Name).AcquireAsync(request)));
        Assert.All(answers, answer => Assert.Equal(LockOutcome.Granted, answer.Outcome));
        Assert.Single(answers.Select(answer => answer.Token).Distinct());
        Assert.Single(await KeysAsync());
    }

    [Fact]
    public async Task DifferentRequests_AskedOfBoth_AreGrantedOneAtATimeInOrder()
    {
        var session = await SessionAsync();
        var granted = new List<long>();
        var holders = 0;
        await Task.WhenAll(Enumerable.Range(0, 60).Select(async i =>
        {
            var queue = (i % 2 == 0 ? _one : _two).Queue(Name);
            var request = NewRequest(session);
            var answer = await AskAsync(queue, request);
            Assert.Equal(1, Interlocked.Increment(ref holders));
            lock (granted)
                granted.Add(answer.Token);
            await Task.Yield();
            Interlocked.Decrement(ref holders);
            Assert.True(await queue.ReleaseAsync(request, answer.Token));
        }));
        Assert.Equal(60, granted.Count);
        Assert.Equal(granted.Order(), granted);
        Assert.Empty(await KeysAsync());
    }

    [Fact]
    public async Task Release_ByAnOldToken_LeavesTheSuccessor_AndRepeatedIsHarmless()
    {
        var first = await NewRequestAsync();
        var token = (await _one.Queue(Name).AcquireAsync(first)).Token;
        Assert.True(await _one.Queue(Name).ReleaseAsync(first, token));
        var second = await NewRequestAsync();
        var next = await _two.Queue(Name).AcquireAsync(second);
        Assert.Equal(LockOutcome.Granted, next.Outcome);
        Assert.False(await _one.Queue(Name).ReleaseAsync(first, token));
        Assert.False(await _two.Queue(Name).ReleaseAsync(first, token));
        // Nor does a wrong token under the right request.
        Assert.False(await _two.Queue(Name).ReleaseAsync(second, token));
        Assert.Equal(next.Token, Assert.Single(await KeysAsync()).CreateRevision);
    }

    [Fact]
    public async Task LateCopyOfAReleasedOrCancelledRequest_IsNotGranted()
    {
        var released = await NewRequestAsync();
        var token = (await _one.Queue(Name).AcquireAsync(released)).Token;
        await _one.Queue(Name).ReleaseAsync(released, token);
        Assert.Equal(LockOutcome.Ended, (await _one.Queue(Name).AcquireAsync(released)).Outcome);
        var cancelled = await NewRequestAsync();
        await _one.Queue(Name).CancelAsync(cancelled);
        Assert.Equal(LockOutcome.Ended, (await _one.Queue(Name).AcquireAsync(cancelled)).Outcome);
        Assert.Empty(await KeysAsync());
    }

    /// <summary>A member that was between two leaders makes a place that was cancelled meanwhile: nobody waits behind it.</summary>
    [Fact]
    public async Task PlaceMadeAfterItsRequestWasCancelled_IsRemovedAtOnce()
    {
        var queue = _one.Queue(Name);
        var holder = await NewRequestAsync();
        var token = (await queue.AcquireAsync(holder)).Token;
        var cancelled = await NewRequestAsync();
        var cancelling = queue.AcquireAsync(cancelled with { MaxWait = Long });
        await UntilKeysAsync(2);
        await queue.CancelAsync(cancelled);
        await cancelling;
        var claim = new LockLayout("orleans", _service, LockKind.Mutex, Name).Claim(cancelled);
        await _one.Etcd.PutRepeatablyAsync(new() { Key = claim.Key, Value = Connections.Bytes("{}"), Lease = cancelled.Session }, CancellationToken.None);
        var waiting = queue.AcquireAsync((await NewRequestAsync()) with { MaxWait = Long });
        await queue.ReleaseAsync(holder, token);
        Assert.Equal(LockOutcome.Granted, (await waiting.WaitAsync(TimeSpan.FromSeconds(3))).Outcome);
        Assert.Single(await KeysAsync());
    }

    [Fact]
    public async Task LateCopyOfAnAttempt_LeavesTheNextOneUnderItsName()
    {
        var (one, two) = (_one.Queue(Name), _two.Queue(Name));
        var first = (await NewRequestAsync()) with { Attempt = 1 };
        var second = first with { Attempt = 2 };
        var token = (await one.AcquireAsync(first)).Token;
        Assert.True(await one.ReleaseAsync(first, token));
        var answer = await one.AcquireAsync(second);
        Assert.Equal(LockOutcome.Granted, answer.Outcome);
        Assert.True(answer.Token > token);
        // Where it was released it is known; elsewhere it finds what is there, which says that it is of a later one.
        foreach (var wait in new[] { TimeSpan.Zero, Long })
        {
            Assert.Equal(LockOutcome.Ended, (await one.AcquireAsync(first with { MaxWait = wait })).Outcome);
            Assert.Equal(LockOutcome.Ended, (await two.AcquireAsync(first with { MaxWait = wait })).Outcome);
        }

        Assert.False(await one.ReleaseAsync(first, token));
        Assert.False(await two.ReleaseAsync(first, token));
        Assert.Equal(answer, await one.AcquireAsync(second));
        Assert.Equal(answer, await two.AcquireAsync(second));
        Assert.Equal(answer.Token, Assert.Single(await KeysAsync()).CreateRevision);
        Assert.True(await two.ReleaseAsync(second, answer.Token));
        Assert.False(await one.ReleaseAsync(second, answer.Token));
        Assert.Equal(LockOutcome.Granted, (await one.AcquireAsync(first with { Attempt = 3 })).Outcome);
    }

    [Fact]
    public async Task Cancel_WhileItWaits_EndsTheWaitAndLeavesNoKey_OfWhicheverQueueItIsAsked()
    {
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        foreach (var other in new[] { _one, _two })
        {
            var waiting = await NewRequestAsync();
            var wait = _one.Queue(Name).AcquireAsync(waiting with { MaxWait = Long });
            await UntilKeysAsync(2);
            await other.Queue(Name).CancelAsync(waiting);
            Assert.Equal(LockOutcome.Ended, (await wait.WaitAsync(TimeSpan.FromSeconds(2))).Outcome);
            Assert.Single(await KeysAsync());
        }
    }

    [Fact]
    public async Task WaitThatIsOver_LeavesNoKey_AndOneCallIsBounded()
    {
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        var brief = await NewRequestAsync();
        Assert.Equal(LockOutcome.NotFree, (await _two.Queue(Name).AcquireAsync(brief with { MaxWait = TimeSpan.FromMilliseconds(200) })).Outcome);
        Assert.Single(await KeysAsync());
        var patient = (await NewRequestAsync()) with { MaxWait = Long, MaxCall = TimeSpan.FromMilliseconds(200) };
        Assert.Equal(LockOutcome.Queued, (await _two.Queue(Name).AcquireAsync(patient)).Outcome);
        var kept = (await KeysAsync())[1];
        // Asked again, of whichever queue, it still has its place; without a wait it gives it up.
        Assert.Equal(LockOutcome.Queued, (await _one.Queue(Name).AcquireAsync(patient)).Outcome);
        Assert.Equal(kept.CreateRevision, (await KeysAsync())[1].CreateRevision);
        Assert.Equal(LockOutcome.NotFree, (await _one.Queue(Name).AcquireAsync(patient with { MaxWait = TimeSpan.Zero })).Outcome);
        Assert.Single(await KeysAsync());
    }

    [Fact]
    public async Task MarkedWait_WhoseTurnComes_LosesItsMarkBeforeItIsGranted()
    {
        var holder = await NewRequestAsync();
        var token = (await _one.Queue(Name).AcquireAsync(holder)).Token;
        var patient = (await NewRequestAsync()) with { MaxWait = Long, MaxCall = TimeSpan.FromMilliseconds(100) };
        await _two.Queue(Name).AcquireAsync(patient);
        Assert.True(LockValue.Decode((await KeysAsync())[1].Value)!.Waiting);
        await _one.Queue(Name).ReleaseAsync(holder, token);
        Assert.Equal(LockOutcome.Granted, (await AskAsync(_two.Queue(Name), patient)).Outcome);
        Assert.False(LockValue.Decode(Assert.Single(await KeysAsync()).Value)!.Waiting);
    }

    /// <summary>
    /// An old call, of an activation that hears nothing new, must not take away what another has granted meanwhile to the
    /// same request.
    /// </summary>
    [Theory]
    [InlineData(1)]
    [InlineData(100)]
    public async Task OldCall_WhoseTimeIsOver_LeavesWhatWasGrantedElsewhere(int permits)
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        var kind = permits == 1 ? LockKind.Mutex : LockKind.Semaphore;
        await using var deaf = QueueSilo.Start(etcd.Server, _service, proxy.Endpoint);
        var session = await SessionAsync();
        LockRequest New() => NewRequest(session) with { Permits = permits };
        var holders = new List<(LockRequest Request, long Token)>();
        for (var i = 0; i < permits; i++)
        {
            var request = New();
            holders.Add((request, (await _one.Queue(kind, Name).AcquireAsync(request)).Token));
        }

        var waiting = New();
        // Both have their watch; then the old one's falls silent until its wait is over.
        var old = deaf.Queue(kind, Name).AcquireAsync(waiting with { MaxWait = TimeSpan.FromSeconds(3) });
        await Eventually.IsTrueAsync(async () => (await KeysAsync(kind)).Count == permits + 1, "it waits");
        await Task.Delay(500);
        proxy.StallAnswers();
        await _one.Queue(kind, Name).ReleaseAsync(holders[0].Request, holders[0].Token);
        var granted = await _one.Queue(kind, Name).AcquireAsync(waiting with { MaxWait = Long });
        Assert.Equal(LockOutcome.Granted, granted.Outcome);
        await Task.Delay(2500);
        proxy.Pass();
        var last = await old;
        Assert.True(last.Outcome is LockOutcome.Granted or LockOutcome.Queued, $"{last}");
        Assert.Contains(await KeysAsync(kind), key => key.CreateRevision == granted.Token);
    }

    /// <summary>
    /// As an old call leaves it whose mark is applied when another has asked again: whoever may remove marked waits after a
    /// minute would remove a holder.
    /// </summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task MarkThatComesWhileACallWaits_IsGoneBeforeItIsGranted(bool handedOver)
    {
        var holder = await NewRequestAsync();
        var token = (await _one.Queue(Name).AcquireAsync(holder)).Token;
        var wish = (await NewRequestAsync()) with { MaxWait = Long };
        var waiting = _two.Queue(Name).AcquireAsync(wish);
        await UntilKeysAsync(2);
        var own = (await KeysAsync())[1];
        await _one.Etcd.PutAsync(new PutRequest { Key = own.Key, Value = new LockValue { Waiting = true }.Encode(), Lease = own.Lease });
        await (handedOver ? _two : _one).Queue(Name).ReleaseAsync(holder, token);
        Assert.Equal(new LockAnswer(LockOutcome.Granted, own.CreateRevision), await waiting);
        Assert.False(LockValue.Decode(Assert.Single(await KeysAsync()).Value)!.Waiting);
    }

    /// <summary>Its id is used again: what a late copy of the wish before has made of it is not the next one's place.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task LateCopyOfAnEarlierWish_UnderTheSameId_GivesTheNextNoLowerToken(bool mayWait)
    {
        var first = (await NewRequestAsync()) with { Permits = 2, Attempt = 1 };
        var token = (await _one.Queue(LockKind.Semaphore, Name).AcquireAsync(first)).Token;
        Assert.True(await _one.Queue(LockKind.Semaphore, Name).ReleaseAsync(first, token));
        // By another activation, which does not know that it has ended.
        var late = await _two.Queue(LockKind.Semaphore, Name).AcquireAsync(first);
        var other = await _two.Queue(LockKind.Semaphore, Name).AcquireAsync((await NewRequestAsync()) with { Permits = 2 });
        var next = await _one.Queue(LockKind.Semaphore, Name).AcquireAsync(first with { Attempt = 2, MaxWait = mayWait ? Long : TimeSpan.Zero });
        Assert.Equal((LockOutcome.Granted, true, true), (next.Outcome, late.Token < other.Token, other.Token < next.Token));
        Assert.Equal([other.Token, next.Token], (await KeysAsync(LockKind.Semaphore)).Select(key => key.CreateRevision));
        // Asked again it is the same wish.
        Assert.Equal(next, await _two.Queue(LockKind.Semaphore, Name).AcquireAsync(first with { Attempt = 2 }));
    }

    [Fact]
    public async Task Release_ItsFirstAnswerIsLost_SaysThatItWasHeld()
    {
        await using var one = TcpProxy.Start(etcd.Server.Endpoint);
        await using var two = TcpProxy.Start(etcd.Server.Endpoint);
        await using var silo = new QueueSilo(Connections.Connect(one.Endpoint, two.Endpoint), _service);
        var request = await NewRequestAsync();
        var token = (await silo.Queue(Name).AcquireAsync(request)).Token;
        (one.Accepted > 0 ? one : two).StallAnswers();
        Assert.True(await silo.Queue(Name).ReleaseAsync(request, token));
        Assert.Empty(await KeysAsync());
        Assert.False(await silo.Queue(Name).ReleaseAsync(request, token));
    }

    [Fact]
    public async Task Release_UnderAWrongToken_LeavesTheWishAsItIs()
    {
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        var wish = (await NewRequestAsync()) with { MaxWait = Long, MaxCall = TimeSpan.FromMilliseconds(100) };
        Assert.Equal(LockOutcome.Queued, (await _one.Queue(Name).AcquireAsync(wish)).Outcome);
        Assert.False(await _one.Queue(Name).ReleaseAsync(wish, 1));
        Assert.Equal(LockOutcome.Queued, (await _one.Queue(Name).AcquireAsync(wish)).Outcome);
    }

    [Fact]
    public async Task Semaphore_OfAsManyPermitsAsThereMayBe_IsWaitedForAndLeft()
    {
        var session = await SessionAsync();
        LockRequest New() => NewRequest(session) with { Permits = LockLayout.MaxPermits };
        await Task.WhenAll(Enumerable.Range(0, LockLayout.MaxPermits).Select(async _ => Assert.Equal(LockOutcome.Granted, (await _one.Queue(LockKind.Semaphore, Name).AcquireAsync(New())).Outcome)));
        Assert.Equal(LockOutcome.NotFree, (await _two.Queue(LockKind.Semaphore, Name).AcquireAsync(New() with { MaxWait = TimeSpan.FromMilliseconds(50) })).Outcome);
        Assert.Equal(LockLayout.MaxPermits, (await KeysAsync(LockKind.Semaphore)).Count);
    }

    [Fact]
    public async Task EndOfTheWaitersLease_EndsTheWait()
    {
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        var session = await SessionAsync();
        var wait = _one.Queue(Name).AcquireAsync(NewRequest(session) with { MaxWait = Long });
        await UntilKeysAsync(2);
        await _two.Etcd.RevokeAsync(session, CancellationToken.None);
        Assert.Equal(LockOutcome.Ended, (await wait.WaitAsync(TimeSpan.FromSeconds(2))).Outcome);
        Assert.Equal(LockOutcome.SessionLost, (await _one.Queue(Name).AcquireAsync(NewRequest(session) with { MaxWait = Long })).Outcome);
        Assert.Equal(LockOutcome.SessionLost, (await _one.Queue("free").AcquireAsync(NewRequest(session))).Outcome);
    }

    [Fact]
    public async Task EndOfTheHoldersLease_LetsTheNextIn()
    {
        var session = await SessionAsync();
        await _one.Queue(Name).AcquireAsync(NewRequest(session));
        var wait = _two.Queue(Name).AcquireAsync((await NewRequestAsync()) with { MaxWait = Long });
        await UntilKeysAsync(2);
        await _one.Etcd.RevokeAsync(session, CancellationToken.None);
        Assert.Equal(LockOutcome.Granted, (await wait.WaitAsync(TimeSpan.FromSeconds(2))).Outcome);
    }

    [Fact]
    public async Task Acquire_WithoutAWait_NeverLeavesAKey()
    {
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        await using var watch = new RangeWatch(_two.Etcd, EtcdKeys.Lock("orleans", _service, "locks", Name));
        await watch.Batches.ReadAsync();
        Assert.Equal(LockOutcome.NotFree, (await _one.Queue(Name).AcquireAsync(await NewRequestAsync())).Outcome);
        // What comes next is what is put here, and not a key that came and went.
        var marker = NewRequest(await SessionAsync()) with { MaxWait = TimeSpan.FromMilliseconds(50) };
        await _one.Queue(Name).AcquireAsync(marker);
        var batch = await watch.Batches.ReadAsync();
        Assert.EndsWith(LockLayout.Entry(marker), Assert.Single(batch.Changes).Key.ToStringUtf8());
    }

    [Fact]
    public async Task Semaphore_AdmitsAsManyAsItsPermits_AndTryAsksWithoutAKey()
    {
        var session = await SessionAsync();
        var held = new List<LockAnswer>();
        var requests = new List<LockRequest>();
        for (var i = 0; i < 4; i++)
        {
            requests.Add(NewRequest(session) with { Permits = 3 });
            held.Add(await (i % 2 == 0 ? _one : _two).Queue(LockKind.Semaphore, Name).AcquireAsync(requests[i]));
        }

        Assert.Equal([LockOutcome.Granted, LockOutcome.Granted, LockOutcome.Granted, LockOutcome.NotFree], held.Select(answer => answer.Outcome));
        Assert.Equal(3, (await KeysAsync(LockKind.Semaphore)).Count);
        var wait = _two.Queue(LockKind.Semaphore, Name).AcquireAsync(requests[3] with { MaxWait = Long, RequestId = "again" });
        await Eventually.IsTrueAsync(async () => (await KeysAsync(LockKind.Semaphore)).Count == 4, "it waits");
        // The second and not the first: any permit will do.
        await _one.Queue(LockKind.Semaphore, Name).ReleaseAsync(requests[1], held[1].Token);
        Assert.Equal(LockOutcome.Granted, (await wait.WaitAsync(TimeSpan.FromSeconds(2))).Outcome);
        var status = await _one.Queue(LockKind.Semaphore, Name).GetStatusAsync();
        Assert.Equal((3, 0), (status.Holders.Length, status.Waiters));
    }

    [Fact]
    public async Task ReadersAndWriters_InTheOrderOfTheirComing()
    {
        var session = await SessionAsync();
        var queue = _one.Queue(LockKind.ReadWrite, Name);
        LockRequest Read() => NewRequest(session) with { IsRead = true, MaxWait = Long };
        var (reader, other, writer, late) = (Read(), Read(), NewRequest(session) with { MaxWait = Long }, Read());
        var first = await queue.AcquireAsync(reader);
        var second = await _two.Queue(LockKind.ReadWrite, Name).AcquireAsync(other);
        Assert.Equal((LockOutcome.Granted, LockOutcome.Granted), (first.Outcome, second.Outcome));
        var write = queue.AcquireAsync(writer);
        await Eventually.IsTrueAsync(async () => (await KeysAsync(LockKind.ReadWrite)).Count == 3, "the writer waits");
        // It does not overtake the writer, though readers hold the lock.
        var read = _two.Queue(LockKind.ReadWrite, Name).AcquireAsync(late);
        await Eventually.IsTrueAsync(async () => (await KeysAsync(LockKind.ReadWrite)).Count == 4, "the late reader waits");
        Assert.Equal(LockOutcome.NotFree, (await _two.Queue(LockKind.ReadWrite, Name).AcquireAsync(Read() with { MaxWait = TimeSpan.Zero })).Outcome);
        await queue.ReleaseAsync(reader, first.Token);
        await Task.Delay(100);
        Assert.False(write.IsCompleted || read.IsCompleted);
        await queue.ReleaseAsync(other, second.Token);
        var wrote = await write.WaitAsync(TimeSpan.FromSeconds(2));
        Assert.Equal(LockOutcome.Granted, wrote.Outcome);
        var status = await queue.GetStatusAsync();
        Assert.Equal((wrote.Token, 1), (Assert.Single(status.Holders).Token, status.Waiters));
        Assert.False(read.IsCompleted);
        await queue.ReleaseAsync(writer, wrote.Token);
        Assert.Equal(LockOutcome.Granted, (await read.WaitAsync(TimeSpan.FromSeconds(2))).Outcome);
    }

    [Theory]
    [InlineData("a", "a/b")]
    [InlineData("a", "a%2Fb")]
    [InlineData("a/b", "a%2Fb")]
    [InlineData("a", "A")]
    [InlineData("a\n", "a")]
    [InlineData("ü", "u\u0308")]
    [InlineData("read", "read/x")]
    [InlineData("日本語/鍵", "日本語")]
    public async Task Names_ThatDiffer_AreIndependent(string one, string other)
    {
        Assert.Equal(LockOutcome.Granted, (await _one.Queue(one).AcquireAsync(await NewRequestAsync())).Outcome);
        Assert.Equal(LockOutcome.Granted, (await _one.Queue(other).AcquireAsync(await NewRequestAsync())).Outcome);
        Assert.Equal(LockOutcome.NotFree, (await _two.Queue(one).AcquireAsync(await NewRequestAsync())).Outcome);
        Assert.Equal(LockOutcome.Granted, (await _one.Queue(LockKind.Semaphore, one).AcquireAsync(await NewRequestAsync())).Outcome);
        Assert.Equal(LockOutcome.Granted, (await _one.Queue(LockKind.ReadWrite, one).AcquireAsync(await NewRequestAsync())).Outcome);
    }

    [Fact]
    public async Task BadRequests_AreRefusedByName()
    {
        var good = await NewRequestAsync();
        var queue = _one.Queue(Name);
        await RefusedAsync("Session", good with { Session = 0 });
        await RefusedAsync("MaxWait", good with { MaxWait = TimeSpan.FromTicks(-1) });
        await RefusedAsync("RequestId", good with { RequestId = "" });
        await RefusedAsync("RequestId", good with { RequestId = new string('x', 65) });
        await RefusedAsync("Owner", good with { Owner = new string('x', 257) });
        await RefusedAsync("Owner", good with { Owner = "\ud800" });
        await RefusedAsync("Permits", good with { Permits = 0 });
        await RefusedAsync("semaphore", good with { Permits = 2 });
        await RefusedAsync("reader-writer", good with { IsRead = true });
        Assert.Empty(await KeysAsync());

        async Task RefusedAsync(string says, LockRequest request) =>
            Assert.Contains(says, (await Assert.ThrowsAnyAsync<ArgumentException>(() => queue.AcquireAsync(request))).Message);
    }

    [Fact]
    public async Task Waiters_SurviveCompactionAndARestart()
    {
        var holder = await NewRequestAsync();
        var token = (await _one.Queue(Name).AcquireAsync(holder)).Token;
        var waits = new List<Task<LockAnswer>>();
        foreach (var silo in new[] { _one, _two })
            waits.Add(AskAsync(silo.Queue(Name), (await NewRequestAsync()) with { MaxWait = Long }));
        await UntilKeysAsync(3);
        for (var i = 0; i < 5; i++)
            await _one.Etcd.PutAsync("elsewhere", $"{i}");
        await etcd.Server.KillAsync();
        await etcd.Server.RestartAsync();
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        await _one.Queue(Name).ReleaseAsync(holder, token);
        var granted = await (await Task.WhenAny(waits).WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Equal((LockOutcome.Granted, (await KeysAsync())[0].CreateRevision), (granted.Outcome, granted.Token));
    }

    /// <summary>
    /// After an outage etcd may apply what it was sent long before: the grant of a lease that was revoked meanwhile, and a request on it,
    /// or what said that its session was there.
    /// </summary>
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task LateCopyOfARequest_ItsSessionEndedAndTheLeaseIsThereAgain_MakesNoPlace(bool mayWait, bool isAnnouncedAgain)
    {
        var sessions = new SessionStore(_one.Etcd, _service);
        var lease = await SessionAsync();
        var request = NewRequest(lease) with { SessionRevision = await sessions.AnnounceAsync(lease, "test", CancellationToken.None), MaxWait = mayWait ? Long : TimeSpan.Zero };
        var other = NewRequest(lease) with { SessionRevision = request.SessionRevision };
        var token = (await _one.Queue(Name).AcquireAsync(other)).Token;
        Assert.Equal(request.SessionRevision, await sessions.AnnounceAsync(lease, "test", CancellationToken.None));
        Assert.True(await _one.Queue(Name).ReleaseAsync(other, token));

        await _one.Etcd.RevokeAsync(lease, CancellationToken.None);
        await _one.Etcd.GrantAsync(new LeaseGrantRequest { ID = lease, TTL = 120 }, CancellationToken.None);
        if (isAnnouncedAgain)
            await sessions.AnnounceAsync(lease, "test", CancellationToken.None);
        Assert.Equal(LockOutcome.SessionLost, (await _two.Queue(Name).AcquireAsync(request)).Outcome);
        Assert.Empty(await KeysAsync());
        // Also where somebody holds it.
        await _one.Queue(Name).AcquireAsync(await NewRequestAsync());
        Assert.Equal(LockOutcome.SessionLost, (await _two.Queue(Name).AcquireAsync(request)).Outcome);
        Assert.Single(await KeysAsync());
    }

    private static async Task<LockAnswer> AskAsync(LockQueue queue, LockRequest request)
    {
        while (true)
        {
            try
            {
                if (await queue.AcquireAsync(request with { MaxWait = Long }) is { Outcome: not LockOutcome.Queued } answer)
                    return answer;
            }
            catch (EtcdException exception) when (exception.IsTransient)
            {
                await Task.Delay(50);
            }
        }
    }

    private Task UntilKeysAsync(int count) => Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == count, $"{count} keys are queued");

    private async Task<IReadOnlyList<KeyValue>> KeysAsync(LockKind kind = LockKind.Mutex)
    {
        var room = kind switch { LockKind.Semaphore => "semaphores", LockKind.ReadWrite => "rwlocks", _ => "locks" };
        return [.. (await _one.Etcd.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", _service, room, Name)))).Kvs.OrderBy(kv => kv.CreateRevision)];
    }

    private async Task<long> SessionAsync()
    {
        var lease = await _one.Etcd.GrantAsync(new LeaseGrantRequest { TTL = 120 }, CancellationToken.None);
        _leases.Add(lease.ID);
        return lease.ID;
    }

    /// <summary>A request of a process of its own.</summary>
    private async Task<LockRequest> NewRequestAsync() => NewRequest(await SessionAsync());

    private LockRequest NewRequest(long session) => new() { Session = session, RequestId = $"{Interlocked.Increment(ref _requests)}", Owner = "test" };
}
