using System.Diagnostics;
using Orleans.Etcd.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>
/// The one way in which etcd frees a lock that is being renewed: a leader that was frozen for longer than the TTL revokes
/// live leases when it resumes. Two then hold it by their own belief, for as long as the first has not heard of it.
/// </summary>
[Trait("Category", "Long")]
public sealed class LockLeaderFreezeTests(ITestOutputHelper output)
{
    private const int Count = 8;
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(7);

    [Fact]
    public async Task LeaderFrozenForLongerThanTheTtl_WhoeverIsOvertakenKnowsWithinASecond_AndHasTheLowerToken()
    {
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        await using var silo = new QueueSilo(etcd.Connect(), "service");
        await using var others = new QueueClient(etcd.Connect(), "service", silo.Grain, TimeSpan.FromMinutes(1));
        var holds = await Task.WhenAll(Enumerable.Range(0, Count).Select(number => HoldAsync(etcd, silo, others, number)));
        var leader = await etcd.GetLeaderAsync();
        leader.Pause();
        await Task.Delay(Ttl * 1.5);
        leader.Resume();
        await Task.Delay(TimeSpan.FromSeconds(5));
        var overtaken = 0;
        foreach (var hold in holds)
        {
            if (!hold.Next.IsCompleted)
            {
                // Nobody else has it: it may still be held, and was not lost for nothing.
                Assert.False(hold.Held.LostToken.IsCancellationRequested, "lost, and free for nobody");
                continue;
            }

            overtaken++;
            var (next, granted) = await hold.Next;
            Assert.True(next.FencingToken > hold.Held.FencingToken);
            var window = Stopwatch.GetElapsedTime(granted, await hold.Lost.WaitAsync(TimeSpan.Zero)).TotalMilliseconds;
            output.WriteLine($"held by two for {window:F0} ms");
            Assert.InRange(window, double.NegativeInfinity, 1000);
        }

        output.WriteLine($"{overtaken} of {Count} were overtaken");
        foreach (var hold in holds)
            await hold.Client.DisposeAsync();
    }

    private static async Task<Overtakable> HoldAsync(EtcdCluster etcd, QueueSilo silo, QueueClient others, int number)
    {
        var client = new QueueClient(etcd.Connect(), "service", silo.Grain, Ttl);
        var held = await client.Locks.GetLock($"lock-{number}").AcquireAsync();
        var lost = new TaskCompletionSource<long>(TaskCreationOptions.RunContinuationsAsynchronously);
        held.LostToken.Register(() => lost.TrySetResult(Stopwatch.GetTimestamp()));
        return new Overtakable(client, held, lost.Task, NextAsync());

        async Task<(ILockHandle, long)> NextAsync()
        {
            var next = await others.Locks.GetLock($"lock-{number}").AcquireAsync();
            return (next, Stopwatch.GetTimestamp());
        }
    }

    private sealed record Overtakable(QueueClient Client, ILockHandle Held, Task<long> Lost, Task<(ILockHandle Handle, long Granted)> Next);
}
