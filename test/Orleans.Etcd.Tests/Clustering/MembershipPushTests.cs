using System.Collections.Immutable;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

public sealed class MembershipPushTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task Changes_CauseOneRefreshForEachVersionAtMost_AndTheLastIsNeverMissed()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var membership = new Membership();
        await using var push = Push(cluster, membership);
        for (var silo = 1; silo <= 20; silo++)
            await cluster.Second.InsertAsync(Silos.Entry(silo));
        await Eventually.IsTrueAsync(() => membership.CurrentSnapshot.Version.Value == 20, "the last version arrives");
        // Each version is asked for once, in order, and one at a time.
        Assert.Equal(membership.Asked.Distinct(), membership.Asked);
        Assert.Equal(membership.Asked.Order(), membership.Asked);
        Assert.Equal(1, membership.MostAtOnce);
    }

    [Fact]
    public async Task VersionThatIsKnown_AndHeartbeats_CauseNone()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var membership = new Membership { KnowsAll = true };
        await using var push = Push(cluster, membership);
        await cluster.Second.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        await cluster.Second.UpdateIAmAliveAsync(Silos.Entry(1, alive: DateTime.UtcNow));
        await Eventually.IsTrueAsync(() => cluster.First.VersionOf(cluster.First.View.Snapshot!) == 2, "the watch shows it");
        await Task.Delay(500);
        Assert.Empty(membership.Asked);
    }

    [Fact]
    public async Task RefreshThatFails_IsTriedAgainEverMoreRarely_UntilItIsKnown()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var membership = new Membership { Failures = 3 };
        await using var push = Push(cluster, membership);
        await cluster.Second.InsertAsync(Silos.Entry(1));
        await Eventually.IsTrueAsync(() => membership.CurrentSnapshot.Version.Value == 1, "it is known in the end");
        Assert.Equal([1, 1, 1, 1], membership.Asked);
        var pauses = membership.At.Zip(membership.At.Skip(1), (first, second) => (second - first).TotalMilliseconds).ToArray();
        Assert.True(pauses[0] >= 200 && pauses[1] >= 450 && pauses[2] >= 900, string.Join(' ', pauses));
        await Task.Delay(500);
        Assert.Equal(4, membership.Asked.Count);
    }

    private static Pushing Push(Cluster cluster, Membership membership) =>
        new(new MembershipPush(cluster.First, membership, NullLogger<MembershipPush>.Instance));

    private sealed class Pushing : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _loop;

        public Pushing(MembershipPush push) => _loop = Task.Run(() => push.RunAsync(_stop.Token));

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _loop);
            _stop.Dispose();
        }
    }

    /// <summary>Orleans' membership as far as push uses it; knows the version that it was asked for last.</summary>
    private sealed class Membership : IClusterMembershipService
    {
        private readonly object _lock = new();
        private readonly List<long> _asked = [];
        private readonly List<DateTime> _at = [];
        private long _version;
        private int _now;

        public int Failures { get; set; }

        public bool KnowsAll { get; init; }

        public int MostAtOnce { get; private set; }

        public IReadOnlyList<long> Asked => Locked(() => _asked.ToArray());

        public IReadOnlyList<DateTime> At => Locked(() => _at.ToArray());

        public ClusterMembershipSnapshot CurrentSnapshot =>
            new(ImmutableDictionary<SiloAddress, ClusterMember>.Empty, new MembershipVersion(KnowsAll ? long.MaxValue : Interlocked.Read(ref _version)));

        public IAsyncEnumerable<ClusterMembershipSnapshot> MembershipUpdates => throw new NotSupportedException();

        public async ValueTask Refresh(MembershipVersion minimumVersion, CancellationToken cancellationToken)
        {
            lock (_lock)
            {
                _asked.Add(minimumVersion.Value);
                _at.Add(DateTime.UtcNow);
                MostAtOnce = Math.Max(MostAtOnce, ++_now);
            }

            await Task.Delay(20, cancellationToken);
            Interlocked.Decrement(ref _now);
            if (Failures-- > 0)
                throw new InvalidOperationException("not now");
            Interlocked.Exchange(ref _version, minimumVersion.Value);
        }

        public Task<bool> TryKill(SiloAddress siloAddress) => throw new NotSupportedException();

        private T Locked<T>(Func<T> read)
        {
            lock (_lock)
                return read();
        }
    }
}
