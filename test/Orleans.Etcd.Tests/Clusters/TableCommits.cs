using System.Collections.Concurrent;
using System.Net;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Clustering;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>The table of a cluster of processes, seen through a connection of the test's own.</summary>
internal sealed class TableCommits : IAsyncDisposable
{
    private readonly EtcdConnection _etcd;
    private readonly EtcdMembershipTable _table;
    private readonly RangeWatch _watch;
    private readonly MembershipLayout _layout;
    private readonly ConcurrentDictionary<(IPEndPoint Silo, SiloStatus Status), DateTimeOffset> _commits = new();
    private readonly Task _following;

    private TableCommits(EtcdConnection etcd, ClusterOptions cluster)
    {
        _etcd = etcd;
        _layout = new MembershipLayout(etcd.Options.KeyPrefix, cluster);
        _table = etcd.Table(cluster);
        _watch = new RangeWatch(etcd, _layout.Prefix);
        _following = Task.Run(FollowAsync);
    }

    public static async Task<TableCommits> WatchAsync(EtcdConnection etcd, ClusterOptions cluster)
    {
        var commits = new TableCommits(etcd, cluster);
        await commits._table.InitializeMembershipTableAsync(tryInitTableVersion: true);
        return commits;
    }

    /// <summary>When etcd showed a silo with a status first: a few milliseconds after the commit.</summary>
    public async Task<DateTimeOffset> OfAsync(IPEndPoint silo, SiloStatus status)
    {
        DateTimeOffset at = default;
        await Eventually.IsTrueAsync(() => _commits.TryGetValue((silo, status), out at), $"etcd says that {silo} is {status}");
        return at;
    }

    public async Task<IReadOnlyList<MembershipEntry>> ReadAsync() => [.. (await _table.ReadAllAsync()).Members.Select(member => member.Item1)];

    /// <summary>Writes the row of a silo that does not exist, as another writer would; answers where it would listen.</summary>
    public async Task<IPEndPoint> InsertAsync(int number)
    {
        var entry = Silos.Entry(number, SiloStatus.Joining, DateTime.UtcNow);
        // One that has been joining for too long would be declared dead.
        entry.StartTime = entry.IAmAliveTime;
        await _table.InsertAsync(entry);
        return Silos.Address(number).Endpoint;
    }

    /// <summary>Asserts that all are Active and that nobody has voted against any.</summary>
    public async Task AllLiveAsync(IEnumerable<SiloProcess> silos)
    {
        var rows = await ReadAsync();
        foreach (var silo in silos)
        {
            Assert.False(silo.HasExited, silo.Output);
            var row = rows.Single(row => row.SiloAddress.Endpoint.Equals(silo.Endpoint));
            Assert.Equal(SiloStatus.Active, row.Status);
            Assert.Empty(row.SuspectTimes ?? []);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync();
        await _following;
        await _table.DisposeAsync();
        await _etcd.DisposeAsync();
    }

    private async Task FollowAsync()
    {
        await foreach (var batch in _watch.Batches.ReadAllAsync())
        {
            var now = DateTimeOffset.UtcNow;
            foreach (var row in MembershipImage.Decode(_layout, batch.Snapshot, known: null, _ => { }).Rows)
                _commits.TryAdd((row.Entry.SiloAddress.Endpoint, row.Entry.Status), now);
        }
    }
}
