using System.Collections.Concurrent;
using System.Collections.Immutable;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>
/// Who may judge, and for how long: one silo's monitor on a real etcd, beside an Orleans that only notes what it is asked.
/// Nobody is pinged under this policy, so that all there is between a lease and an eviction is what is looked at here.
/// </summary>
public sealed class LivenessMonitorTests : IAsyncLifetime
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(2);
    private static readonly SiloAddress Self = Silos.Address(1);

    private readonly Membership _membership = new();
    private readonly CancellationTokenSource _stop = new();
    private EtcdServer _server = null!;
    private TcpProxy _proxy = null!;
    private EtcdConnection _etcd = null!;
    private EtcdConnection _ofTable = null!;
    private EtcdMembershipTable _table = null!;
    private LiveView _leases = null!;
    private LivenessLease _own = null!;
    private Task _monitoring = null!;

    private MembershipLayout Layout => _table.Layout;

    public async Task InitializeAsync()
    {
        _server = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        _proxy = TcpProxy.Start(_server.Endpoint);
        _etcd = _server.Connect();
        _ofTable = _server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(1), _proxy.Endpoint);
        _table = _ofTable.Table(new ClusterOptions { ServiceId = "service", ClusterId = "cluster" });
        await _table.InitializeMembershipTableAsync(true);
        _leases = new LiveView(_etcd, Layout.LivenessPrefix);
        for (var silo = 2; silo <= 5; silo++)
            await _etcd.PutAsync(Key(silo), "");
        _own = new LivenessLease(_etcd, _leases, Layout.LivenessKey(Self), "self", Ttl, NullLogger<LivenessLease>.Instance);
        await _own.Tried;
        await _leases.WaitAsync(view => view.Values.Count == 5, CancellationToken.None);
        var monitor = new LivenessMonitor(_leases, _own, _table, _membership, probe: null!, EtcdEvictionPolicy.EvictOnLeaseLoss, agentCount: 10, Self, TimeProvider.System, NullLogger<LivenessMonitor>.Instance);
        _monitoring = Task.Run(() => monitor.RunAsync(_stop.Token));
    }

    public async Task DisposeAsync()
    {
        await _stop.CancelAsync();
        await _monitoring.ContinueWith(static _ => { }, TaskScheduler.Default);
        await _own.DisposeAsync();
        await _leases.DisposeAsync();
        await _table.DisposeAsync();
        await _ofTable.DisposeAsync();
        await _etcd.DisposeAsync();
        await _proxy.DisposeAsync();
        await _server.DisposeAsync();
        _stop.Dispose();
    }

    [Fact]
    public async Task LostLease_IsEvictedAgain_UntilTheTableSaysDead()
    {
        await SettledAsync();
        _membership.Heeds = 3;
        await LoseAsync(2);
        await Eventually.IsTrueAsync(() => _membership.Killed.Count == 3, "asked three times");
        // Dead at the third: no more.
        await Task.Delay(3_000);
        Assert.Equal([Silos.Address(2), Silos.Address(2), Silos.Address(2)], _membership.Killed);
    }

    [Fact]
    public async Task LeaseThatIsBackInTime_IsNotEvicted()
    {
        await SettledAsync();
        await LoseAsync(2);
        // A third of the TTL and half a second is waited for others to go.
        await Task.Delay(300);
        await _etcd.PutAsync(Key(2), "");
        await Task.Delay(3_000);
        Assert.Empty(_membership.Killed);
    }

    [Fact]
    public async Task SiloWithAYoungLease_DoesNotJudgeYet()
    {
        await SettledAsync();
        await RevokeOwnAsync();
        await Eventually.IsTrueAsync(() => _own.IsHeld && _own.Age < TimeSpan.FromSeconds(1), "another lease is made");
        var made = DateTime.UtcNow - _own.Age;
        await LoseAsync(2);
        await Eventually.IsTrueAsync(() => _membership.Killed.Count > 0, "it judges in the end");
        Assert.True(_membership.At.First() - made >= Ttl, $"{_membership.At.First() - made}");
    }

    [Fact]
    public async Task SiloThatDoesNotHoldItsLease_JudgesNobody()
    {
        await SettledAsync();
        using var gateway = new JsonGateway(_server.Endpoint);
        // Out of space, etcd grants no other.
        await gateway.SetNoSpaceAsync(true);
        await RevokeOwnAsync();
        await Eventually.IsTrueAsync(() => !_own.IsHeld, "the lease is given up");
        await LoseAsync(2);
        await Task.Delay(4_000);
        Assert.False(_own.IsHeld);
        Assert.Empty(_membership.Killed);
        await gateway.SetNoSpaceAsync(false);
        await Eventually.IsTrueAsync(() => _membership.Killed.Count > 0, "it judges once it holds one");
    }

    [Fact]
    public async Task SiloThatDoesNotSeeTheTable_JudgesNobody()
    {
        await SettledAsync();
        _proxy.Refuse();
        await Eventually.IsTrueAsync(() => _table.View.LastError is not null, "the table's watch is cut off");
        await LoseAsync(2);
        await Task.Delay(4_000);
        Assert.Empty(_membership.Killed);
        _proxy.Pass();
        await Eventually.IsTrueAsync(() => _membership.Killed.Count > 0, "it judges once it sees the table");
    }

    [Fact]
    public async Task MoreThanHalf_AreNotEvicted_NorWhenTheyGoOneAfterAnother()
    {
        await SettledAsync();
        await LoseAsync(2);
        await Task.Delay(200);
        await LoseAsync(3);
        await Task.Delay(200);
        await LoseAsync(4);
        await Task.Delay(4_000);
        Assert.Empty(_membership.Killed);
    }

    /// <summary>Until this silo may judge.</summary>
    private Task SettledAsync() => Eventually.IsTrueAsync(() => _own.Age >= Ttl, "the lease is old enough");

    private async Task RevokeOwnAsync() =>
        await _etcd.RevokeAsync((await _etcd.GetAsync(Key(1)))!.Lease, CancellationToken.None);

    private async Task LoseAsync(int silo) => await _etcd.DeleteAsync(Key(silo));

    private string Key(int silo) => Layout.LivenessKey(Silos.Address(silo)).ToStringUtf8();

    /// <summary>Five silos that are Active; kills who it is asked to at the given time of asking.</summary>
    private sealed class Membership : IClusterMembershipService
    {
        private volatile ClusterMembershipSnapshot _snapshot = new(
            Enumerable.Range(1, 5).Select(silo => Silos.Address(silo)).ToImmutableDictionary(silo => silo, silo => new ClusterMember(silo, SiloStatus.Active, "silo")),
            new MembershipVersion(1));

        public int Heeds { get; set; } = 1;

        public ConcurrentQueue<SiloAddress> Killed { get; } = [];

        public ConcurrentQueue<DateTime> At { get; } = [];

        public ClusterMembershipSnapshot CurrentSnapshot => _snapshot;

        public IAsyncEnumerable<ClusterMembershipSnapshot> MembershipUpdates => throw new NotSupportedException();

        public ValueTask Refresh(MembershipVersion minimumVersion, CancellationToken cancellationToken) => ValueTask.CompletedTask;

        public Task<bool> TryKill(SiloAddress siloAddress)
        {
            Killed.Enqueue(siloAddress);
            At.Enqueue(DateTime.UtcNow);
            if (Killed.Count >= Heeds)
                _snapshot = new(_snapshot.Members.SetItem(siloAddress, new ClusterMember(siloAddress, SiloStatus.Dead, "silo")), new MembershipVersion(2));
            return Task.FromResult(true);
        }
    }
}
