using System.Collections.Immutable;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Orleans' membership as far as it is used here: what was last read of the table.</summary>
internal sealed class Membership(EtcdMembershipTable table) : IClusterMembershipService
{
    private volatile ClusterMembershipSnapshot _snapshot = new(ImmutableDictionary<SiloAddress, ClusterMember>.Empty, default);
    private int _refreshes;

    public bool Fails { get; set; }

    public Task Waits { get; set; } = Task.CompletedTask;

    public int Refreshes => Volatile.Read(ref _refreshes);

    public ClusterMembershipSnapshot CurrentSnapshot => _snapshot;

    public IAsyncEnumerable<ClusterMembershipSnapshot> MembershipUpdates => throw new NotSupportedException();

    public async ValueTask Refresh(MembershipVersion minimumVersion = default, CancellationToken cancellationToken = default)
    {
        Interlocked.Increment(ref _refreshes);
        if (Fails)
            throw new InvalidOperationException("not now");
        await Waits.WaitAsync(cancellationToken);
        var read = await table.ReadAllAsync(cancellationToken);
        _snapshot = new(
            read.Members.ToImmutableDictionary(member => member.Item1.SiloAddress, member => new ClusterMember(member.Item1.SiloAddress, member.Item1.Status, member.Item1.SiloName)),
            new MembershipVersion(read.Version.Version));
    }

    public Task<bool> TryKill(SiloAddress siloAddress) => throw new NotSupportedException();
}
