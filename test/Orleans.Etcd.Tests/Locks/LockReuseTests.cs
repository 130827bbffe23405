using System.Collections.Concurrent;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>
/// Names of keys that are used again, so that a lock stays as fast as it was, and only where nothing of the last one can
/// still be under way.
/// </summary>
public sealed class LockReuseTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const string Name = "lock";

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private readonly ConcurrentQueue<LockRequest> _asked = new();
    private QueueSilo _silo = null!;
    private QueueClient _client = null!;
    private Exception? _failure;

    public Task InitializeAsync()
    {
        _silo = QueueSilo.Start(etcd.Server, _service);
        _client = new QueueClient(etcd.Server.Connect(), _service, (kind, name) => new Recorded(_silo.Grain(kind, name), this), ttl: TimeSpan.FromSeconds(30));
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _client.DisposeAsync();
        await _silo.DisposeAsync();
    }

    [Fact]
    public async Task LockThatIsHadAgainAndAgain_KeepsOneName_AndTwoThatDifferHaveTwo()
    {
        for (var i = 0; i < 50; i++)
        {
            await using (await _client.Locks.GetLock(Name).AcquireAsync())
            {
                Assert.Null(await _client.Locks.GetLock(Name).TryAcquireAsync());
                Assert.Null(await _client.Locks.GetLock(Name).TryAcquireAsync(TimeSpan.FromMilliseconds(2)));
                await (await _client.Locks.GetReadLock(Name).AcquireAsync()).DisposeAsync();
                await (await _client.Locks.GetWriteLock(Name).AcquireAsync()).DisposeAsync();
            }
        }

        Assert.Equal(4, _asked.Select(request => request.RequestId).Distinct().Count());
        Assert.Equal(_asked.Select(request => request.Attempt).Order(), _asked.Select(request => request.Attempt));
        Assert.Equal(_asked.Count, _asked.Select(request => request.Attempt).Distinct().Count());
    }

    [Fact]
    public async Task Contenders_HaveANameEach()
    {
        await Task.WhenAll(Enumerable.Range(0, 8).Select(async _ =>
        {
            for (var i = 0; i < 20; i++)
                await (await _client.Locks.GetLock(Name).AcquireAsync()).DisposeAsync();
        }));
        Assert.InRange(_asked.Select(request => request.RequestId).Distinct().Count(), 1, 8);
    }

    [Fact]
    public async Task CancelledWait_WhoseCancellationComesAgainMuchLater_TakesNothingFromTheNext()
    {
        var held = await _client.Locks.GetLock(Name).AcquireAsync();
        using var stop = new CancellationTokenSource(TimeSpan.FromMilliseconds(50));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _client.Locks.GetLock(Name).AcquireAsync(stop.Token));
        var cancelled = _asked.Last();
        await held.DisposeAsync();
        await HoldAsync(cancelled, () => _silo.Queue(Name).CancelAsync(cancelled));
    }

    [Fact]
    public async Task CallThatWasNotAnswered_AndItsCancellation_TakeNothingFromTheNext()
    {
        _failure = new TimeoutException("its answer was lost");
        await (await _client.Locks.GetLock(Name).AcquireAsync()).DisposeAsync();
        var repeated = _asked.Last();
        await HoldAsync(repeated, () => _silo.Queue(Name).CancelAsync(repeated));
    }

    [Fact]
    public void NamesOfLocksThatNobodyUsesAnyMore_AreForgotten()
    {
        var ids = new RequestIds();
        var made = new HashSet<string>();
        for (var i = 0; i < 50_000; i++)
        {
            var id = ids.Take($"lock {i}");
            Assert.True(made.Add(id), "it was another lock's");
            ids.GiveBack($"lock {i}", id);
        }

        var last = ids.Take("lock 49999");
        Assert.False(made.Add(last), "it is used again");
        ids.GiveBack("lock 49999", last);
        ids.Discard(last);
        Assert.True(made.Add(ids.Take("lock 49999")), "it was discarded");
    }

    /// <summary>Holds the lock while something happens, and sees whether it is still there.</summary>
    private async Task HoldAsync(LockRequest before, Func<Task> meanwhile)
    {
        await using var held = await _client.Locks.GetLock(Name).AcquireAsync();
        Assert.NotEqual(before.RequestId, _asked.Last().RequestId);
        await meanwhile();
        Assert.Equal(held.FencingToken, Assert.Single((await _client.Locks.GetLock(Name).GetStatusAsync()).Holders).Token);
    }

    /// <summary>A grain whose requests are seen, and whose first answer may be lost.</summary>
    private sealed class Recorded(ILockQueueGrain grain, LockReuseTests seen) : ILockQueueGrain
    {
        public async Task<LockAnswer> Acquire(LockRequest request)
        {
            seen._asked.Enqueue(request);
            var answer = await grain.Acquire(request);
            return Interlocked.Exchange(ref seen._failure, null) is { } failure ? throw failure : answer;
        }

        public Task<bool> Release(LockRequest request, long token) => grain.Release(request, token);

        public Task Cancel(LockRequest request) => grain.Cancel(request);

        public Task<LockStatus> GetStatus() => grain.GetStatus();

        public Task<bool> ForceRelease(long token) => grain.ForceRelease(token);
    }
}
