using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Mvccpb;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>One cluster's table on a real server, through two connections that know nothing of each other.</summary>
internal sealed class Cluster : IAsyncDisposable
{
    private readonly List<IAsyncDisposable> _owned = [];

    private Cluster(string serviceId, string clusterId, string keyPrefix)
    {
        Options = new ClusterOptions { ServiceId = serviceId, ClusterId = clusterId };
        KeyPrefix = keyPrefix;
        Layout = new MembershipLayout(keyPrefix, Options);
    }

    public string KeyPrefix { get; }

    public ClusterOptions Options { get; }

    public MembershipLayout Layout { get; }

    public EtcdConnection Etcd { get; private set; } = null!;

    public EtcdMembershipTable First { get; private set; } = null!;

    public EtcdMembershipTable Second { get; private set; } = null!;

    public static async Task<Cluster> CreateAsync(SharedEtcd etcd, string? clusterId = null, string serviceId = "service", bool initialise = true, ILogger<EtcdMembershipTable>? logger = null, TimeSpan? heartbeatAge = null, string keyPrefix = EtcdOptions.DefaultKeyPrefix)
    {
        var cluster = new Cluster(serviceId, clusterId ?? $"cluster-{Guid.NewGuid():N}", keyPrefix);
        cluster.Etcd = cluster.Connect(etcd);
        cluster.First = cluster.Table(cluster.Etcd, logger, heartbeatAge);
        cluster.Second = cluster.Table(cluster.Connect(etcd), logger, heartbeatAge);
        if (initialise)
        {
            await cluster.First.InitializeMembershipTableAsync(true);
            await cluster.Second.InitializeMembershipTableAsync(true);
        }

        return cluster;
    }

    public EtcdConnection Connect(SharedEtcd etcd, Uri? through = null, TimeSpan? timeout = null)
    {
        var connection = etcd.Server.Connect(
            options =>
            {
                options.RequestTimeout = timeout ?? options.RequestTimeout;
                options.KeyPrefix = KeyPrefix;
            },
            through);
        _owned.Insert(0, connection);
        return connection;
    }

    public EtcdMembershipTable Table(EtcdConnection connection, ILogger<EtcdMembershipTable>? logger = null, TimeSpan? heartbeatAge = null)
    {
        var membership = new ClusterMembershipOptions { MaxJoinAttemptTime = TimeSpan.FromSeconds(20) };
        membership.IAmAliveTablePublishTimeout = heartbeatAge ?? membership.IAmAliveTablePublishTimeout;
        var table = connection.Table(Options, membership, logger);
        _owned.Insert(0, table);
        return table;
    }

    /// <summary>Every key of this cluster as it is in etcd.</summary>
    public async Task<IReadOnlyList<KeyValue>> RawAsync()
    {
        var root = EtcdKeys.Cluster(KeyPrefix, Options.ServiceId, Options.ClusterId);
        var response = await Etcd.RangeAsync(new RangeRequest { Key = ByteString.CopyFromUtf8(root), RangeEnd = EtcdKeys.RangeEnd(root) });
        return response.Kvs;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var owned in _owned)
            await owned.DisposeAsync();
    }
}

/// <summary>Silos as tests write them down.</summary>
internal static class Silos
{
    public static readonly DateTime Epoch = new(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc);

    public static SiloAddress Address(int number, int generation = 1) => SiloAddress.New(System.Net.IPAddress.Loopback, 10_000 + number, generation);

    public static MembershipEntry Entry(int number, SiloStatus status = SiloStatus.Active, DateTime? alive = null) => new()
    {
        SiloAddress = Address(number),
        Status = status,
        SiloName = $"silo-{number}",
        HostName = "host",
        RoleName = "role",
        ProxyPort = 30_000 + number,
        StartTime = Epoch,
        IAmAliveTime = alive ?? Epoch,
        SuspectTimes = [],
    };

    public static async Task InsertAsync(this EtcdMembershipTable table, params MembershipEntry[] entries)
    {
        foreach (var entry in entries)
        {
            var version = (await table.ReadAllAsync()).Version;
            Assert.True(await table.InsertRowAsync(entry, version.Next()));
        }
    }

    /// <summary>Everything that a view says, as text that can be compared.</summary>
    public static string Describe(this MembershipTableData data) =>
        $"{data.Version} " + string.Join(" | ", data.Members.OrderBy(member => member.Item1.SiloAddress.ToParsableString(), StringComparer.Ordinal).Select(member => $"{member.Item2} {member.Item1.ToFullString()} {member.Item1.IAmAliveTime.Ticks}"));
}
