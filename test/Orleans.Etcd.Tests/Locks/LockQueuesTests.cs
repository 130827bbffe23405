using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

public sealed class LockQueuesTests
{
    /// <summary>By the monotonic clock: Orleans' own collection goes by the wall clock, which may fall back.</summary>
    [Fact]
    public async Task Queue_NotUsedForMinutes_IsSaidToBeIdle_AndOneInUseIsNot()
    {
        var time = new FakeTimeProvider();
        await using var etcd = new EtcdConnection(new EtcdOptions { Endpoints = { "http://127.0.0.1:1" } }, timeProvider: time);
        var queues = new LockQueues(etcd, Options.Create(new ClusterOptions { ServiceId = "s", ClusterId = "c" }), NullLoggerFactory.Instance);
        var (left, used) = (0, 0);
        var leftQueue = queues.Open(LockKind.Mutex, "left", () => Interlocked.Increment(ref left));
        var usedQueue = queues.Open(LockKind.Mutex, "used", () => Interlocked.Increment(ref used));
        await Eventually.IsTrueAsync(
            () =>
            {
                usedQueue.NoteUse();
                time.Advance(TimeSpan.FromSeconds(10));
                return Volatile.Read(ref left) > 0;
            },
            "the one that nobody uses is idle");
        Assert.Equal(0, Volatile.Read(ref used));
        Assert.True(time.GetElapsedTime(leftQueue.LastUsed) >= TimeSpan.FromMinutes(2), "it was said too early");
        await queues.CloseAsync(leftQueue);
        await queues.CloseAsync(usedQueue);
        queues.EndWaits();
    }
}
