using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>
/// One silo's monitor, with a real table and real leases, beside four silos of which there are only a row, a lease and what
/// they answer when they are asked.
/// </summary>
public sealed class LivenessMonitorTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private const int Count = 5;
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan PingTimeout = TimeSpan.FromMilliseconds(300);

    /// <summary>How long is waited for others to go too where nobody refused a connection.</summary>
    private static readonly TimeSpan Spread = (Ttl / 3) + TimeSpan.FromMilliseconds(500);

    private static readonly SiloAddress Self = Silos.Address(1);

    private readonly ConcurrentDictionary<SiloAddress, Answering> _silos = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly ClusterOptions _cluster = new() { ServiceId = "service", ClusterId = $"{Guid.NewGuid():N}" };
    private TcpProxy _proxy = null!;
    private TcpProxy _ownProxy = null!;
    private EtcdConnection _etcd = null!;
    private EtcdConnection _writer = null!;
    private EtcdConnection _ofTable = null!;
    private EtcdMembershipTable _table = null!;

    // What the test itself looks at, whatever is cut.
    private EtcdMembershipTable _seen = null!;
    private LiveView _leases = null!;
    private LivenessLease _own = null!;
    private Membership _membership = null!;
    private Task _monitoring = Task.CompletedTask;

    private MembershipLayout Layout => _table.Layout;

    public async Task InitializeAsync()
    {
        _proxy = TcpProxy.Start(shared.Server.Endpoint);
        _ownProxy = TcpProxy.Start(shared.Server.Endpoint);
        _etcd = shared.Server.Connect(through: _ownProxy.Endpoint);
        _writer = shared.Server.Connect();
        _ofTable = shared.Server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(1), _proxy.Endpoint);
        _table = _ofTable.Table(_cluster);
        _seen = _writer.Table(_cluster);
        await _table.InitializeMembershipTableAsync(true);
        await _table.InsertAsync([.. Enumerable.Range(1, Count).Select(silo => Silos.Entry(silo))]);
        _membership = new Membership(_table);
        await _membership.Refresh();
        _leases = new LiveView(_etcd, Layout.LivenessPrefix);
        for (var silo = 2; silo <= Count; silo++)
        {
            _silos[Silos.Address(silo)] = new Answering();
            await _writer.PutAsync(Key(silo), "");
        }

        _own = new LivenessLease(_etcd, _leases, Layout.LivenessKey(Self), "self", Ttl, NullLogger<LivenessLease>.Instance);
        await _own.Tried;
        await _leases.WaitAsync(view => view.Values.Count == Count, CancellationToken.None);
        await Eventually.IsTrueAsync(() => _own.Age >= Ttl, "the lease is old enough to judge");
    }

    public async Task DisposeAsync()
    {
        await _stop.CancelAsync();
        await _monitoring.ContinueWith(static _ => { }, TaskScheduler.Default);
        await _own.DisposeAsync();
        await _leases.DisposeAsync();
        await _table.DisposeAsync();
        await _seen.DisposeAsync();
        await _ofTable.DisposeAsync();
        await _etcd.DisposeAsync();
        await _writer.DisposeAsync();
        await _ownProxy.DisposeAsync();
        await _proxy.DisposeAsync();
        _stop.Dispose();
    }

    [Fact]
    public async Task SiloThatRefusesConnections_IsDeadAtOnce_ByOneVote()
    {
        using var counted = new Counted();
        await WatchAsync();
        Refuses(2);
        var since = Stopwatch.StartNew();
        await LoseAsync(2);
        await DeadAsync(2);
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Spread);
        var row = (await _table.ReadRowAsync(Silos.Address(2))).Members.Single().Item1;
        Assert.Equal([Self], row.SuspectTimes!.Select(vote => vote.Item1));
        Assert.All(["losses", "pings refused"], count => Assert.True(counted[count] >= 1, count));
        // An eviction is counted once etcd's answer is back; others may read the row before.
        await Eventually.IsTrueAsync(() => counted["evictions unreachable"] >= 1, "the eviction is counted");
    }

    [Fact]
    public async Task SiloThatRefuses_AndWritesItsKeyAgainInTime_Stays()
    {
        var grace = TimeSpan.FromSeconds(1);
        await WatchAsync(grace: grace);
        Refuses(2);
        await LoseAsync(2);
        await Eventually.IsTrueAsync(() => _silos[Silos.Address(2)].Pings >= 1, "it was asked");
        await _writer.PutAsync(Key(2), "");
        await StaysAsync(2);
        var since = Stopwatch.StartNew();
        await LoseAsync(2);
        await DeadAsync(2);
        // Asked again before it was believed.
        Assert.InRange(since.Elapsed, grace, grace + TimeSpan.FromSeconds(2));
        Assert.True(_silos[Silos.Address(2)].Pings >= 3);
    }

    [Fact]
    public async Task SiloThatRefusesAll_ButReachesEtcd_Stays()
    {
        await using var etcd = shared.Server.Connect();
        await using var view = new LiveView(etcd, Layout.LivenessPrefix);
        await using var lease = new LivenessLease(etcd, view, Layout.LivenessKey(Silos.Address(2)), "2", Ttl, NullLogger<LivenessLease>.Instance);
        await lease.Tried;
        await Eventually.IsTrueAsync(() => lease.Age > TimeSpan.FromSeconds(1.5), "the lease is no new one");
        Refuses(2);
        await WatchAsync(grace: ProcessWatch.Grace);
        var probe = new LivenessProbe(silo => _silos[silo], PingTimeout, TimeProvider.System);
        var processes = new ProcessWatch(_leases, _table, _membership, probe, TimeSpan.FromMilliseconds(200), Count, Self, TimeProvider.System, NullLogger.Instance);
        var before = (await _writer.GetAsync(Key(2)))!;
        var watching = Task.Run(() => processes.RunAsync(_stop.Token));
        await Eventually.IsTrueAsync(async () => await _writer.GetAsync(Key(2)) is { } now && now.CreateRevision > before.CreateRevision, "its key was taken away, and it has another");
        await StaysAsync(2);
        // Nothing but the key was lost.
        Assert.Equal(before.Lease, (await _writer.GetAsync(Key(2)))!.Lease);
        await _stop.CancelAsync();
        await watching;
    }

    [Fact]
    public async Task SiloThatHasItsKey_IsNotDeclaredDead_WhateverWasSeen()
    {
        Assert.Equal(Eviction.HasKey, await _table.TryDeclareDeadAsync(Silos.Address(2), Self, CancellationToken.None));
        Assert.Equal(SiloStatus.Active, (await _seen.ReadRowAsync(Silos.Address(2))).Members.Single().Item1.Status);
        await LoseAsync(2);
        Assert.Equal(Eviction.Done, await _table.TryDeclareDeadAsync(Silos.Address(2), Self, CancellationToken.None));
        Assert.Equal(Eviction.Unneeded, await _table.TryDeclareDeadAsync(Silos.Address(2), Self, CancellationToken.None));
    }

    [Fact]
    public async Task SiloThatIsSilent_IsDead_OnlyWhenOthersHadTheTimeToGoToo()
    {
        await WatchAsync();
        IsSilent(2);
        var since = Stopwatch.StartNew();
        await LoseAsync(2);
        await DeadAsync(2);
        Assert.InRange(since.Elapsed, Spread, Spread + TimeSpan.FromSeconds(2));
    }

    [Fact]
    public async Task SiloThatIsSilent_AndIsBackInTime_Stays()
    {
        await WatchAsync();
        IsSilent(2);
        await LoseAsync(2);
        await Task.Delay(PingTimeout * 2);
        await _writer.PutAsync(Key(2), "");
        await StaysAsync(2);
    }

    [Fact]
    public async Task SiloThatAnswers_Stays()
    {
        using var counted = new Counted();
        await WatchAsync();
        await LoseAsync(2);
        await StaysAsync(2);
        Assert.True(counted["pings answered"] >= 1);
    }

    [Fact]
    public async Task SiloThatAnswersOnlyAnotherAgent_Stays()
    {
        await WatchAsync();
        IsSilent(2);
        _silos[Silos.Address(4)].Reaches = () => Task.FromResult(true);
        await LoseAsync(2);
        await StaysAsync(2);
    }

    [Fact]
    public async Task SiloThatAnswersNobody_StaysUntilEveryAgentHasSaidSo()
    {
        await WatchAsync();
        IsSilent(2);
        // Agents see each other's leases, so one that cannot be asked may be cut off together with this silo.
        _silos[Silos.Address(4)].Reaches = () => Task.FromException<bool>(new OrleansException("no connection"));
        await LoseAsync(2);
        await StaysAsync(2);
        _silos[Silos.Address(4)].Reaches = () => Task.FromResult(false);
        await DeadAsync(2);
    }

    /// <summary>With one agent, each lost silo has one of the four others, the same for all who look.</summary>
    [Fact]
    public async Task SiloThatIsNotChosen_DoesNothing()
    {
        await WatchAsync(agents: 1);
        for (var silo = 2; silo <= Count; silo++)
            IsSilent(silo);
        for (var silo = 2; silo <= Count; silo++)
        {
            await LoseAsync(silo);
            // Longer than one TTL: those that are dead by then are no crowd with the next.
            await Task.Delay(Spread * 2);
            // Were it still an open case, this silo would have to step in once those chosen before it are gone too.
            if (_silos[Silos.Address(silo)].Pings == 0)
                await _writer.PutAsync(Key(silo), "");
        }

        var asked = Enumerable.Range(2, Count - 1).Count(silo => _silos[Silos.Address(silo)].Pings > 0);
        Assert.Equal(asked, (await StatusesAsync()).Count(status => status == SiloStatus.Dead));
        Assert.InRange(asked, 0, Count - 2);
    }

    [Fact]
    public async Task LeaseThatWasGoneBefore_IsNoticedAfterATtl_AndNeverEvictedUnasked()
    {
        await LoseAsync(2);
        await _leases.WaitAsync(view => view.Values.Count == Count - 1, CancellationToken.None);
        await WatchAsync(EtcdEvictionPolicy.EvictOnLeaseLoss);
        await Task.Delay(Ttl * 2);
        await StaysAsync(2);
        Assert.True(_silos[Silos.Address(2)].Pings >= 1);
        IsSilent(2);
        await DeadAsync(2);
    }

    [Fact]
    public async Task EvictionThatCannotBeWritten_IsDoneLater_ButNotToASiloThatAnswersBy()
    {
        await WatchAsync();
        IsSilent(2);
        IsSilent(3);
        using var gateway = new JsonGateway(shared.Server.Endpoint);
        // Out of space, etcd takes no write; leases are renewed and watches go on.
        await gateway.SetNoSpaceAsync(true);
        await LoseAsync(2);
        await LoseAsync(3);
        await Task.Delay(Spread * 3);
        Assert.True(_own.IsHeld);
        Assert.DoesNotContain(SiloStatus.Dead, await StatusesAsync());
        _silos[Silos.Address(3)].Ping = () => Task.CompletedTask;
        await Task.Delay(PingTimeout * 2);
        await gateway.SetNoSpaceAsync(false);
        await DeadAsync(2);
        await StaysAsync(3);
    }

    [Fact]
    public async Task LeaseThatIsBackInTime_IsNotEvictedUnasked()
    {
        await WatchAsync(EtcdEvictionPolicy.EvictOnLeaseLoss);
        await LoseAsync(2);
        await Task.Delay(300);
        await _writer.PutAsync(Key(2), "");
        await StaysAsync(2);
    }

    [Fact]
    public async Task SiloWithAYoungLease_DoesNotJudgeYet()
    {
        await WatchAsync(EtcdEvictionPolicy.EvictOnLeaseLoss);
        await RevokeOwnAsync();
        await Eventually.IsTrueAsync(() => _own.IsHeld && _own.Age < TimeSpan.FromSeconds(1), "another lease is made");
        var since = Stopwatch.StartNew();
        var age = _own.Age;
        await LoseAsync(2);
        await DeadAsync(2);
        Assert.True(age + since.Elapsed >= Ttl, $"{age} + {since.Elapsed}");
    }

    [Fact]
    public async Task SiloThatDoesNotHoldItsLease_AsksNobody()
    {
        await WatchAsync();
        IsSilent(2);
        using var gateway = new JsonGateway(shared.Server.Endpoint);
        // Out of space, etcd grants no other.
        await gateway.SetNoSpaceAsync(true);
        await RevokeOwnAsync();
        await Eventually.IsTrueAsync(() => !_own.IsHeld, "the lease is given up");
        await LoseAsync(2);
        await Task.Delay(Spread * 2);
        Assert.False(_own.IsHeld);
        Assert.Equal(0, _silos[Silos.Address(2)].Pings);
        await gateway.SetNoSpaceAsync(false);
        await DeadAsync(2);
        Assert.True(_own.Age >= Ttl);
    }

    [Fact]
    public async Task SiloWhoseOwnRenewalIsOverdue_EvictsNobody()
    {
        await WatchAsync();
        IsSilent(2);
        var since = Stopwatch.StartNew();
        await LoseAsync(2);
        await Eventually.IsTrueAsync(() => _silos[Silos.Address(2)].Pings > 0, "it is asked");
        // Nothing says that the connection is broken, but nothing comes over it either.
        _ownProxy.Stall();
        await Task.Delay(Spread + TimeSpan.FromMilliseconds(300) - since.Elapsed);
        Assert.DoesNotContain(SiloStatus.Dead, await StatusesAsync());
        _ownProxy.Pass();
        await DeadAsync(2);
    }

    [Fact]
    public async Task SiloThatDoesNotSeeTheTable_AsksNobody()
    {
        await WatchAsync();
        IsSilent(2);
        _proxy.Refuse();
        await Eventually.IsTrueAsync(() => _table.View.LastError is not null, "the table's watch is cut off");
        await LoseAsync(2);
        await Task.Delay(Spread * 3);
        Assert.Equal(0, _silos[Silos.Address(2)].Pings);
        _proxy.Pass();
        await DeadAsync(2);
    }

    [Theory]
    [InlineData(EtcdEvictionPolicy.EvictOnLeaseLoss)]
    [InlineData(EtcdEvictionPolicy.EvictWhenUnreachable)]
    public async Task MoreThanHalf_AreNotEvicted_NorWhenTheyGoOneAfterAnother(EtcdEvictionPolicy policy)
    {
        var time = new FakeTimeProvider();
        await WatchAsync(policy, time: time);
        for (var silo = 2; silo <= 4; silo++)
            IsSilent(silo);
        for (var silo = 2; silo <= 4; silo++)
        {
            await LoseAndLookAsync(silo);
            time.Advance(Spread / 3);
        }

        // Past the time left for others to go, which the first of them is waited for, and before the two TTLs after which they are judged.
        for (var i = 0; i < 10; i++)
        {
            time.Advance(Spread / 5);
            await StaysAsync(TimeSpan.FromMilliseconds(100), 2, 3, 4);
        }
    }

    /// <summary>An outage takes all leases; the living come back at once, and a machine that was lost meanwhile is not waited for longer than need be.</summary>
    [Theory]
    [InlineData(EtcdEvictionPolicy.EvictOnLeaseLoss)]
    [InlineData(EtcdEvictionPolicy.EvictWhenUnreachable)]
    public async Task MoreThanHalf_ThatStayAway_AreAskedAfterTwoTtls_AndEvictedUnlessTheyAnswer(EtcdEvictionPolicy policy)
    {
        await WatchAsync(policy);
        IsSilent(2);
        IsSilent(3);
        var since = Stopwatch.StartNew();
        await Task.WhenAll(LoseAsync(2), LoseAsync(3), LoseAsync(4));
        await DeadAsync(2);
        Assert.True(since.Elapsed >= Ttl * 2, $"{since.Elapsed}");
        await DeadAsync(3);
        await StaysAsync(4);
        Assert.True(_silos[Silos.Address(4)].Pings > 0);
    }

    /// <summary>Where nothing waits for others to go, because connections are refused.</summary>
    [Fact]
    public async Task MoreThanHalf_OfWhichMostGoWhileTheTableIsRead_AreNotEvicted()
    {
        await WatchAsync();
        for (var silo = 2; silo <= 4; silo++)
        {
            _silos[Silos.Address(silo)].Ping = () => Task.FromException(new OrleansException("no connection"));
            _silos[Silos.Address(silo)].Reaches = () => Task.FromResult(false);
        }

        _silos[Silos.Address(5)].Reaches = () => Task.FromResult(false);
        var read = new TaskCompletionSource();
        _membership.Waits = read.Task;
        await LoseAndLookAsync(2);
        await LoseAsync(3);
        await LoseAsync(4);
        await _leases.WaitAsync(view => view.Values.Count == 2, CancellationToken.None);
        read.SetResult();
        await StaysAsync(2, 3, 4);
    }

    [Fact]
    public async Task ReportOnly_AsksAndEvictsNobody_AndCounts()
    {
        using var counted = new Counted();
        await WatchAsync(EtcdEvictionPolicy.ReportOnly);
        IsSilent(2);
        await LoseAsync(2);
        await StaysAsync(2);
        Assert.Equal(0, _silos[Silos.Address(2)].Pings);
        Assert.True(counted["losses"] >= 1);
    }

    [Fact]
    public async Task TableThatCannotBeRead_IsNotAskedForAllTheTime()
    {
        await WatchAsync(EtcdEvictionPolicy.EvictOnLeaseLoss);
        _membership.Fails = true;
        var before = _membership.Refreshes;
        await LoseAsync(2);
        await Task.Delay(2_500);
        // At once, then after 0.25, 0.5, 1 and 2 s.
        Assert.InRange(_membership.Refreshes - before, 2, 5);
        _membership.Fails = false;
        await DeadAsync(2);
    }

    private async Task WatchAsync(EtcdEvictionPolicy policy = EtcdEvictionPolicy.EvictWhenUnreachable, int agents = 10, TimeProvider? time = null, TimeSpan? grace = null)
    {
        var probe = new LivenessProbe(silo => _silos[silo], PingTimeout, TimeProvider.System);
        var monitor = new LivenessMonitor(_leases, _own, _table, _membership, probe, policy, agents, grace ?? TimeSpan.Zero, Self, time ?? TimeProvider.System, NullLogger<LivenessMonitor>.Instance);
        _monitoring = Task.Run(() => monitor.RunAsync(_stop.Token));
        // It has looked once.
        await Task.Delay(200);
    }

    private void Refuses(int silo) => Unreached(silo, () => Task.FromException(new OrleansException("no connection")));

    private void IsSilent(int silo) => Unreached(silo, () => new TaskCompletionSource().Task);

    private void Unreached(int silo, Func<Task> ping)
    {
        _silos[Silos.Address(silo)].Ping = ping;
        foreach (var other in _silos.Values)
            other.Reaches = () => Task.FromResult(false);
    }

    private Task DeadAsync(int silo) =>
        Eventually.IsTrueAsync(async () => (await _seen.ReadRowAsync(Silos.Address(silo))).Members.Single().Item1.Status == SiloStatus.Dead, $"silo {silo} is dead");

    private Task StaysAsync(params int[] silos) => StaysAsync(Spread * 2, silos);

    private async Task StaysAsync(TimeSpan time, params int[] silos)
    {
        await Task.Delay(time);
        var members = (await _table.ReadAllAsync()).Members.ToDictionary(member => member.Item1.SiloAddress, member => member.Item1.Status);
        Assert.All(silos, silo => Assert.Equal(SiloStatus.Active, members[Silos.Address(silo)]));
    }

    private async Task<IEnumerable<SiloStatus>> StatusesAsync() => (await _table.ReadAllAsync()).Members.Select(member => member.Item1.Status);

    private async Task RevokeOwnAsync() =>
        await _writer.RevokeAsync((await _writer.GetAsync(Key(1)))!.Lease, CancellationToken.None);

    private async Task LoseAsync(int silo) => await _writer.DeleteAsync(Key(silo));

    /// <summary>Until the monitor has begun to read the table for it.</summary>
    private async Task LoseAndLookAsync(int silo)
    {
        var before = _membership.Refreshes;
        await LoseAsync(silo);
        await Eventually.IsTrueAsync(() => _membership.Refreshes > before, "it was looked at");
    }

    private string Key(int silo) => Layout.LivenessKey(Silos.Address(silo)).ToStringUtf8();

    /// <summary>What the meter counts meanwhile, by instrument and its one tag. Other clusters of this process count too.</summary>
    private sealed class Counted : IDisposable
    {
        private readonly MeterListener _listener = new();
        private readonly ConcurrentDictionary<string, long> _counts = [];

        public Counted()
        {
            _listener.InstrumentPublished = static (instrument, me) =>
            {
                if (instrument.Meter.Name == "Orleans.Etcd" && instrument.Name.StartsWith("orleans.etcd.liveness", StringComparison.Ordinal))
                    me.EnableMeasurementEvents(instrument);
            };
            _listener.SetMeasurementEventCallback<long>((instrument, count, tags, _) =>
                _counts.AddOrUpdate(tags.Length == 0 ? instrument.Name : $"{instrument.Name} {tags[0].Value}", count, (_, sum) => sum + count));
            _listener.Start();
        }

        public long this[string name] => _counts.GetValueOrDefault($"orleans.etcd.liveness.{name}");

        public void Dispose() => _listener.Dispose();
    }
}
