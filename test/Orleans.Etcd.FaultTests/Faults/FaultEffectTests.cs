using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Hosting;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>Faults that only slow down or mislead: one that has no effect would make every run pass.</summary>
public sealed class FaultEffectTests(FaultEffectTests.Fixture fixture, ITestOutputHelper output) : IClassFixture<FaultEffectTests.Fixture>
{
    private Deployment Deployment => fixture.Deployment;

    [Fact]
    public async Task LostPackets_AreSentAgain()
    {
        using var client = new HttpClient();
        var version = new Uri(Deployment.Etcd.Members[0].ClientEndpoint, "/version");
        await client.GetStringAsync(version);
        await using (await new LosePackets(0, 40).InjectAsync(Deployment))
        {
            // Linux waits for 200 ms at least before it sends a packet again.
            await Eventually.IsTrueAsync(async () => await TimeAsync(() => client.GetStringAsync(version)) > TimeSpan.FromMilliseconds(190), "one of them was late");
        }
    }

    [Fact]
    public async Task SyncsThatAreDelayed_DelayWrites()
    {
        var delay = TimeSpan.FromMilliseconds(300);
        if (IsMissing(new SlowFsync(0, delay), "strace, or the right to use it"))
            return;

        await using var etcd = Deployment.Connect();
        await etcd.PutAsync("slow", "1");
        var faults = await Task.WhenAll(Enumerable.Range(0, 3).Select(member => new SlowFsync(member, delay).InjectAsync(Deployment)));
        // A write is synced by two of the three before it is answered.
        Assert.True(await TimeAsync(() => etcd.PutAsync("slow", "2")) >= delay, "the write was not delayed");
        foreach (var fault in faults)
            await fault.DisposeAsync();
        await Eventually.IsTrueAsync(async () => await TimeAsync(() => etcd.PutAsync("slow", "3")) < delay, "writes are quick again");
    }

    [Fact]
    public async Task ClockThatJumps_IsTheClockOfTheSilo()
    {
        var fault = new ClockJump(Schedule.SiloWithAClock, TimeSpan.FromMinutes(10));
        if (IsMissing(fault, "libfaketime"))
            return;

        var config = Deployment.Clients[0].GetGrain<IConfigGrain>("clock");
        Assert.InRange(await AheadAsync(), TimeSpan.FromMinutes(-1), TimeSpan.FromMinutes(1));
        await using (await fault.InjectAsync(Deployment))
            await Eventually.IsTrueAsync(async () => await AheadAsync() > TimeSpan.FromMinutes(9), "the silo's commits are of later");
        await Eventually.IsTrueAsync(async () => await AheadAsync() < TimeSpan.FromMinutes(1), "and of now again");

        async Task<TimeSpan> AheadAsync()
        {
            await config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set("key", $"{Guid.NewGuid()}")] });
            return (await config.History(1))[0].Time - DateTimeOffset.UtcNow;
        }
    }

    /// <summary>
    /// Orleans (10.4.2) activates no grain whose collection age ends before what it has been through by the wall clock: 2 min for
    /// the grains of locks made them fail for 8 min after this, with an ArgumentException.
    /// </summary>
    [Fact]
    public async Task ClockThatFallsBack_DoesNotKeepLocksFromBeingHad()
    {
        var fault = new ClockJump(Schedule.SiloWithAClock, TimeSpan.FromMinutes(10));
        if (IsMissing(fault, "libfaketime"))
            return;

        var locks = Deployment.Clients[0].ServiceProvider.GetRequiredService<ILocks>();
        await using (await fault.InjectAsync(Deployment))
            await Task.Delay(Deployment.CollectionQuantum * 3);
        await Task.Delay(Deployment.CollectionQuantum);
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10));
        foreach (var one in new[] { locks.GetLock("never had"), locks.GetSemaphore("never had", 1), locks.GetWriteLock("never had") })
            await (await one.AcquireAsync(limit.Token)).DisposeAsync();
    }

    /// <summary>
    /// A follower that cannot sync hears its leader and applies nothing. It still renews leases and says that watches are alive, so
    /// that nothing is silent: a watch stayed on one for 11 s (seed 17081).
    /// </summary>
    [Fact]
    public async Task FollowerThatAppliesNothing_IsLeftByWatchesWithinFiveSeconds()
    {
        var follower = (await Deployment.GetLeaderAsync() + 1) % Deployment.Etcd.Members.Count;
        var fault = new SlowFsync(follower, TimeSpan.FromSeconds(15), LogOnly: true);
        if (IsMissing(fault, "strace, or the right to use it"))
            return;

        await using var writer = Connections.Connect(Deployment.Etcd.Endpoints[await Deployment.GetLeaderAsync()]);
        // A connection begins at a member drawn by chance: of so many, some begin at the follower.
        var users = Enumerable.Range(0, 16).Select(_ => new EtcdConnection(new EtcdOptions
        {
            Endpoints = [.. Deployment.Etcd.Endpoints.Select(endpoint => endpoint.ToString())],
            WatchProgressInterval = TimeSpan.FromMilliseconds(300),
        })).ToArray();
        var watches = users.Select(etcd => new RangeWatch(etcd, "lagging/")).ToArray();
        try
        {
            await Task.WhenAll(users.Select(etcd => etcd.Leases.GrantAsync(TimeSpan.FromSeconds(3), CancellationToken.None)));
            await Task.WhenAll(watches.Select(watch => watch.Batches.ReadAsync().AsTask()));
            await using (await fault.InjectAsync(Deployment))
            {
                var since = Stopwatch.StartNew();
                await writer.PutAsync("lagging/key", "1");
                await Task.WhenAll(watches.Select(watch => watch.Batches.ReadAsync().AsTask())).WaitAsync(TimeSpan.FromSeconds(30));
                output.WriteLine($"All have it after {since.Elapsed.TotalSeconds:0.0} s.");
                Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(5));
            }
        }
        finally
        {
            foreach (var watch in watches)
                await watch.DisposeAsync();
            foreach (var etcd in users)
                await etcd.DisposeAsync();
        }
    }

    [Fact]
    public async Task MemberThatAppliesNothing_HoldsOnToNoLeasesForTheHealthOfARun()
    {
        var fault = new SlowFsync(0, TimeSpan.FromSeconds(15), LogOnly: true);
        if (IsMissing(fault, "strace, or the right to use it"))
            return;

        await Deployment.SettledAsync(1);
        await using var etcd = Connections.Connect(Deployment.Etcd.Endpoints[1]);
        var before = await Health.OfAsync(Deployment);
        var leases = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => etcd.Leases.GrantAsync(TimeSpan.FromMinutes(5), CancellationToken.None)));
        await Eventually.IsTrueAsync(async () => (await Deployment.Etcd.Members[0].GetLeasesAsync()).Count >= before.Leases + leases.Length, "the member has the leases");
        await using (await fault.InjectAsync(Deployment))
        {
            foreach (var lease in leases)
                await lease.DisposeAsync();
            Assert.InRange((await Health.OfAsync(Deployment)).Leases, 0, before.Leases + 5);
            Assert.InRange((await Deployment.Etcd.Members[0].GetLeasesAsync()).Count, leases.Length, int.MaxValue);
        }
    }

    /// <summary>Where no other member answers either, such as in an etcd that is slow, nothing is gained by leaving one that is alive.</summary>
    [Theory]
    [InlineData(300)]
    [InlineData(10_000)]
    public async Task MemberThatAppliesNothing_IsNotLeftWhereNoOtherAnswers(int progressInterval)
    {
        var follower = (await Deployment.GetLeaderAsync() + 1) % Deployment.Etcd.Members.Count;
        var fault = new SlowFsync(follower, TimeSpan.FromSeconds(15), LogOnly: true);
        if (IsMissing(fault, "strace, or the right to use it"))
            return;

        using var log = new RecordedLog();
        using var logs = new LoggerFactory([log]);
        await using var proxy = TcpProxy.Start(Deployment.Etcd.Endpoints[follower]);
        proxy.Refuse();
        await using var user = new EtcdConnection(
            new EtcdOptions { Endpoints = [Deployment.Etcd.Endpoints[follower].ToString(), proxy.Endpoint.ToString()], WatchProgressInterval = TimeSpan.FromMilliseconds(progressInterval) }, logs);
        await using var watch = new RangeWatch(user, $"lagging alone {progressInterval}/");
        await watch.Batches.ReadAsync();
        await using (await fault.InjectAsync(Deployment))
        {
            await using var writer = Connections.Connect(Deployment.Etcd.Endpoints[await Deployment.GetLeaderAsync()]);
            await writer.PutAsync($"lagging alone {progressInterval}/key", "1");
            await Task.Delay(TimeSpan.FromSeconds(6));
            Assert.DoesNotContain(log.Lines, line => line.Contains("Probe", StringComparison.Ordinal) || line.Contains("opening it again", StringComparison.Ordinal));
        }

        await watch.Batches.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10));
    }

    private bool IsMissing(Fault fault, string needed)
    {
        if (fault.CanBeMade())
            return false;
        output.WriteLine($"Not here, for want of {needed}.");
        return true;
    }

    private static async Task<TimeSpan> TimeAsync(Func<Task> action)
    {
        var since = Stopwatch.StartNew();
        await action();
        return since.Elapsed;
    }

    /// <summary>A deployment with a silo.</summary>
    public sealed class Fixture : IAsyncLifetime
    {
        private Deployment? _deployment;

        internal Deployment Deployment => _deployment!;

        public async Task InitializeAsync() => _deployment = await Deployment.StartAsync("3.5", silos: 1, onLoopback: false);

        public async Task DisposeAsync()
        {
            if (_deployment is not null)
                await _deployment.DisposeAsync();
        }
    }
}
