using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Tests.Clusters;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Locks as users meet them: through handles, on a cluster of three silos.</summary>
public sealed class LockTests(LockCluster cluster) : IClassFixture<LockCluster>
{
    private readonly ILocks _locks = cluster.Locks;

    [Fact]
    public async Task Acquire_Free_HoldsUntilDisposed()
    {
        var name = cluster.NewName();
        var held = await _locks.GetLock(name).AcquireAsync();
        Assert.Equal(name, held.Name);
        Assert.True(held.FencingToken > 0);
        Assert.InRange(held.Remaining, HostedCluster.LockTtl / 2, HostedCluster.LockTtl);
        Assert.Null(await _locks.GetLock(name).TryAcquireAsync());
        await held.DisposeAsync();
        Assert.Equal(TimeSpan.Zero, held.Remaining);
        Assert.False(held.LostToken.IsCancellationRequested);
        await using var next = await _locks.GetLock(name).TryAcquireAsync();
        Assert.True(next!.FencingToken > held.FencingToken);
        Assert.DoesNotContain(await cluster.KeysAsync(name), key => key.CreateRevision == held.FencingToken);
    }

    [Fact]
    public async Task Waiters_AreServedInTheOrderOfTheirComing()
    {
        var name = cluster.NewName();
        var first = await _locks.GetLock(name).AcquireAsync();
        var order = new List<int>();
        var waiters = new List<Task>();
        for (var i = 0; i < 10; i++)
        {
            var number = i;
            waiters.Add(Task.Run(async () =>
            {
                await using var held = await _locks.GetLock(name).AcquireAsync();
                order.Add(number);
            }));
            await cluster.UntilQueuedAsync(name, 2 + i);
        }

        await first.DisposeAsync();
        await Task.WhenAll(waiters);
        Assert.Equal(Enumerable.Range(0, 10), order);
        Assert.Empty(await cluster.KeysAsync(name));
    }

    [Fact]
    public async Task ManyWaiters_ReleaseNothingTwice_AndDisposeIsIdempotent()
    {
        var name = cluster.NewName();
        var held = await _locks.GetLock(name).AcquireAsync();
        await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => held.DisposeAsync().AsTask()));
        await using var next = await _locks.GetLock(name).AcquireAsync();
        await held.DisposeAsync();
        Assert.Equal(next.FencingToken, Assert.Single(await cluster.KeysAsync(name)).CreateRevision);
    }

    [Fact]
    public async Task TryAcquire_WithinAWait_IsNullAfterIt_AndHeldWhenItComesFree()
    {
        var name = cluster.NewName();
        var held = await _locks.GetLock(name).AcquireAsync();
        var clock = Stopwatch.StartNew();
        Assert.Null(await _locks.GetLock(name).TryAcquireAsync(TimeSpan.FromMilliseconds(300)));
        Assert.InRange(clock.Elapsed, TimeSpan.FromMilliseconds(300), TimeSpan.FromSeconds(2));
        Assert.Single(await cluster.KeysAsync(name));
        var waiting = _locks.GetLock(name).TryAcquireAsync(TimeSpan.FromSeconds(20));
        await cluster.UntilQueuedAsync(name, 2);
        await held.DisposeAsync();
        await using var next = await waiting.WaitAsync(TimeSpan.FromSeconds(5));
        Assert.NotNull(next);
    }

    [Fact]
    public async Task Acquire_Cancelled_ThrowsAtOnce_AndLeavesNoKey()
    {
        var name = cluster.NewName();
        await using var held = await _locks.GetLock(name).AcquireAsync();
        using var stop = new CancellationTokenSource();
        var waiting = _locks.GetLock(name).AcquireAsync(stop.Token);
        await cluster.UntilQueuedAsync(name, 2);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting.WaitAsync(TimeSpan.FromSeconds(1)));
        await cluster.UntilQueuedAsync(name, 1);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _locks.GetLock(name).AcquireAsync(stop.Token));
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task LongWait_OutlivesManyCalls()
    {
        // One call ends after 10 s at the latest.
        var name = cluster.NewName();
        var held = await _locks.GetLock(name).AcquireAsync();
        var waiting = _locks.GetLock(name).AcquireAsync();
        await cluster.UntilQueuedAsync(name, 2);
        var place = (await cluster.KeysAsync(name))[1].CreateRevision;
        await Task.Delay(TimeSpan.FromSeconds(12));
        await held.DisposeAsync();
        await using var next = await waiting.WaitAsync(TimeSpan.FromSeconds(5));
        Assert.Equal(place, next.FencingToken);
        Assert.False(held.LostToken.IsCancellationRequested);
    }

    [Fact]
    public async Task Status_TellsWhoHoldsItSinceWhen_AndForcedReleaseIsTold()
    {
        var name = cluster.NewName();
        var mutex = _locks.GetLock(name);
        var free = await mutex.GetStatusAsync();
        Assert.Equal((0, 0), (free.Holders.Length, free.Waiters));
        var held = await mutex.AcquireAsync();
        var waiting = mutex.AcquireAsync();
        await cluster.UntilQueuedAsync(name, 2);
        var status = await mutex.GetStatusAsync();
        var holder = Assert.Single(status.Holders);
        Assert.Equal((held.FencingToken, 1), (holder.Token, status.Waiters));
        Assert.Contains($":{Environment.ProcessId}", holder.Owner);
        Assert.InRange(DateTimeOffset.UtcNow - holder.Since!.Value, TimeSpan.Zero, TimeSpan.FromSeconds(30));
        Assert.InRange(holder.Remaining!.Value, TimeSpan.FromSeconds(1), HostedCluster.LockTtl);
        Assert.False(await mutex.ForceReleaseAsync(held.FencingToken + 100_000));
        Assert.True(await mutex.ForceReleaseAsync(held.FencingToken));
        await using var next = await waiting.WaitAsync(TimeSpan.FromSeconds(5));
        await Eventually.IsTrueAsync(() => held.LostToken.IsCancellationRequested, "the holder is told");
        Assert.True(next.FencingToken > held.FencingToken);
    }

    [Fact]
    public async Task SemaphoreAndReaderWriterLock_HaveTheSameHandles()
    {
        var name = cluster.NewName();
        var semaphore = _locks.GetSemaphore(name, permits: 2);
        await using var one = await semaphore.AcquireAsync();
        var two = await semaphore.AcquireAsync();
        Assert.True(two.FencingToken > one.FencingToken);
        Assert.Null(await semaphore.TryAcquireAsync());
        await two.DisposeAsync();
        await using (await semaphore.AcquireAsync())
            Assert.Equal(2, (await semaphore.GetStatusAsync()).Holders.Length);

        var (read, write) = (_locks.GetReadLock(name), _locks.GetWriteLock(name));
        await using (await read.AcquireAsync())
        await using (await read.AcquireAsync())
        {
            Assert.Null(await write.TryAcquireAsync());
            Assert.Equal(2, (await write.GetStatusAsync()).Holders.Length);
        }

        await using var written = await write.AcquireAsync();
        Assert.Null(await read.TryAcquireAsync());
        Assert.Null(await write.TryAcquireAsync());
    }

    [Fact]
    public async Task SeveralLocks_TakenInOppositeOrders_NeverLockUp()
    {
        var names = Enumerable.Range(0, 4).Select(_ => cluster.NewName()).ToArray();
        var holders = 0;
        await Task.WhenAll(Enumerable.Range(0, 20).Select(async i =>
        {
            await using var held = await _locks.AcquireAllAsync(i % 2 == 0 ? names : [.. names.Reverse(), names[0]]);
            Assert.Equal(1, Interlocked.Increment(ref holders));
            Assert.Equal(names.Order(), held.Locks.Keys.Order());
            Assert.False(held.LostToken.IsCancellationRequested);
            Interlocked.Decrement(ref holders);
        })).WaitAsync(TimeSpan.FromSeconds(30));
        await using (await _locks.GetLock(names[3]).AcquireAsync())
            Assert.Null(await _locks.TryAcquireAllAsync(names, TimeSpan.FromMilliseconds(200)));
        await Task.WhenAll(names.Select(async name => Assert.Empty(await cluster.KeysAsync(name))));
        await using (var none = await _locks.AcquireAllAsync([]))
            Assert.Empty(none.Locks);
        await using var set = (await _locks.TryAcquireAllAsync(names))!;
        Assert.True(await _locks.GetLock(names[1]).ForceReleaseAsync(set.Locks[names[1]].FencingToken));
        await Eventually.IsTrueAsync(() => set.LostToken.IsCancellationRequested, "losing one is losing the set");
    }

    [Theory]
    [InlineData("")]
    [InlineData(null)]
    public void Name_ThatCannotBeAKey_IsRefusedBeforeAnythingIsSent(string? name)
    {
        Assert.Contains("name", Assert.ThrowsAny<ArgumentException>(() => _locks.GetLock(name!)).Message);
        Assert.Contains("name", Assert.ThrowsAny<ArgumentException>(() => _locks.GetSemaphore(name!, 1)).Message);
        Assert.Contains("name", Assert.ThrowsAny<ArgumentException>(() => _locks.GetWriteLock(name!)).Message);
    }

    [Fact]
    public async Task OddArguments_AreRefused()
    {
        Assert.Contains("Unicode", Assert.ThrowsAny<ArgumentException>(() => _locks.GetLock("\ud800")).Message);
        Assert.Contains("1024", Assert.ThrowsAny<ArgumentException>(() => _locks.GetLock(new string('x', 1025))).Message);
        Assert.Contains("Permits", Assert.ThrowsAny<ArgumentException>(() => _locks.GetSemaphore("x", 0)).Message);
        Assert.Contains("Permits", Assert.ThrowsAny<ArgumentException>(() => _locks.GetSemaphore("x", 101)).Message);
        await Assert.ThrowsAnyAsync<ArgumentException>(() => _locks.GetLock("x").TryAcquireAsync(TimeSpan.FromTicks(-1)));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => _locks.GetLock("x").ForceReleaseAsync(0));
        await Assert.ThrowsAnyAsync<ArgumentException>(() => _locks.AcquireAllAsync(["x", ""]));
        // As a caller of the grain itself finds it.
        var refused = await Assert.ThrowsAnyAsync<ArgumentException>(() => cluster.Client.GetGrain<ILockGrain>(new string('x', 1025)).GetStatus());
        Assert.Contains("1024", refused.Message);
    }

    [Theory]
    [InlineData(1024)]
    [InlineData(1)]
    public async Task Names_LongAndOfControlCharacters_AreLocked(int length)
    {
        foreach (var name in new[] { new string('ü', length), new string('\u0001', length), new string('/', length), new string('%', length) })
        {
            await using var held = await _locks.GetLock(name).AcquireAsync();
            Assert.Null(await _locks.GetLock(name).TryAcquireAsync());
        }
    }

    [Fact]
    public async Task InsideAGrain_CodeStaysOnItsScheduler_AndTheGrainAnswersOthersMeanwhile()
    {
        var name = cluster.NewName();
        var user = cluster.Client.GetGrain<ILockUser>(Random.Shared.NextInt64());
        await using var held = await _locks.GetLock(name).AcquireAsync();
        var counting = user.CountUnder(name, times: 3);
        await cluster.UntilQueuedAsync(name, 2);
        // Reentrant: a turn in between, while it waits.
        Assert.Equal(0, await user.Count().WaitAsync(TimeSpan.FromSeconds(2)));
        await held.DisposeAsync();
        Assert.True(await counting.WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Equal(3, await user.Count());
        Assert.Empty(await cluster.KeysAsync(name));
    }

    [Fact]
    public async Task ClientThatDoesNotReachEtcd_HoldsLocksThroughTheSilos()
    {
        var name = cluster.NewName();
        var client = await cluster.StartClientWithoutEtcdAsync();
        var locks = client.Services.GetRequiredService<ILocks>();
        var held = await locks.GetLock(name).AcquireAsync();
        Assert.Null(await _locks.GetLock(name).TryAcquireAsync());
        // Far longer than the TTL: it lives by renewals.
        await Task.Delay(HostedCluster.LockTtl * 2);
        Assert.False(held.LostToken.IsCancellationRequested);
        Assert.True(held.Remaining > TimeSpan.Zero);
        Assert.Null(await _locks.GetLock(name).TryAcquireAsync());
        // Told at once of what was taken away, of one key and of all.
        Assert.True(await _locks.GetLock(name).ForceReleaseAsync(held.FencingToken));
        await Eventually.IsTrueAsync(() => held.LostToken.IsCancellationRequested, "it is told");
        await using var again = await locks.GetLock(name).AcquireAsync();
        await using var grain = await client.Services.GetRequiredService<IClusterClient>().GetLock(cluster.NewName()).AcquireAsync();
        await cluster.Connection.RevokeAsync((await cluster.KeysAsync(name))[0].Lease, CancellationToken.None);
        await Task.WhenAll(new[] { again, grain }.Select(lost => Eventually.IsTrueAsync(() => lost.LostToken.IsCancellationRequested, "it is told")));
        await using var last = await locks.GetLock(name).AcquireAsync();
        await client.StopAsync();
        client.Dispose();
        // Given back, and not left to expire.
        await using var next = await _locks.GetLock(name).TryAcquireAsync();
        Assert.NotNull(next);
    }

    [Fact]
    public async Task MetersAndSpans_TellWhatHappens()
    {
        var name = cluster.NewName();
        var spans = new ConcurrentQueue<Activity>();
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name == "Orleans.Etcd",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllData,
            ActivityStopped = spans.Enqueue,
        };
        ActivitySource.AddActivityListener(listener);
        var numbers = new ConcurrentDictionary<string, double>();
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, it) =>
        {
            if (instrument.Meter.Name == "Orleans.Etcd" && instrument.Name.Contains(".lock.", StringComparison.Ordinal))
                it.EnableMeasurementEvents(instrument);
        };
        meters.SetMeasurementEventCallback<long>((instrument, value, _, _) => numbers.AddOrUpdate(instrument.Name, value, (_, sum) => sum + value));
        meters.SetMeasurementEventCallback<double>((instrument, value, _, _) => numbers.AddOrUpdate(instrument.Name, 1, (_, count) => count + 1));
        meters.Start();

        using var caller = new Activity("caller").Start();
        var held = await _locks.GetLock(name).AcquireAsync();
        await _locks.GetLock(name).TryAcquireAsync();
        var lost = _locks.GetSemaphore(name, 1);
        await using var taken = await lost.AcquireAsync();
        await lost.ForceReleaseAsync(taken.FencingToken);
        await Eventually.IsTrueAsync(() => taken.LostToken.IsCancellationRequested, "it is lost");
        await held.DisposeAsync();
        // What ends in between leaves the caller's own span as the current one, and is a child of it.
        Assert.Same(caller, Activity.Current);

        // Other tests use locks too, at the same time: what is counted is at least this.
        Assert.True(numbers["orleans.etcd.lock.acquire.duration"] >= 3);
        Assert.True(numbers["orleans.etcd.lock.lost"] >= 1);
        Assert.Contains("orleans.etcd.lock.held", numbers.Keys);
        Assert.Contains("orleans.etcd.lock.waiting", numbers.Keys);
        var own = spans.Where(span => name.Equals(span.GetTagItem("orleans.etcd.lock.name"))).ToArray();
        Assert.All(own, span => Assert.Equal(caller.SpanId, span.ParentSpanId));
        Assert.Equal(3, own.Count(span => span.OperationName == "lock acquire"));
        Assert.Equal(2, own.Count(span => span.OperationName == "lock held"));
        Assert.Contains(own, span => span.OperationName == "lock acquire" && "not_free".Equals(span.GetTagItem("orleans.etcd.lock.outcome")));
        Assert.Contains(own, span => span.OperationName == "lock held" && span.Status == ActivityStatusCode.Error);
    }
}
