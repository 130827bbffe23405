using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Mvccpb;
using Orleans.Configuration;

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
