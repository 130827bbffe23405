using Etcdserverpb;
using Google.Protobuf;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>The keys of one cluster's membership table, encoded once.</summary>
internal sealed class MembershipLayout
{
    // An IPv6 address with its scope, escaped, a port and a generation.
    private const int LongestSilo = 100;

    private readonly string _alive;
    private readonly string _silos;

    public MembershipLayout(string keyPrefix, ClusterOptions cluster)
    {
        var root = EtcdKeys.Cluster(keyPrefix, cluster.ServiceId, cluster.ClusterId);
        Prefix = EtcdKeys.Membership(root);
        _silos = EtcdKeys.Silos(root);
        _alive = EtcdKeys.Alive(root);
        LivenessPrefix = EtcdKeys.Liveness(root);
        VersionKey = ByteString.CopyFromUtf8(EtcdKeys.Version(root));
        SilosPrefix = ByteString.CopyFromUtf8(_silos);
        AlivePrefix = ByteString.CopyFromUtf8(_alive);
    }

    /// <summary>What holds the version and the rows, and nothing that changes more often.</summary>
    public string Prefix { get; }

    /// <summary>What holds the silos' leases.</summary>
    public string LivenessPrefix { get; }

    public ByteString VersionKey { get; }

    public ByteString SilosPrefix { get; }

    public ByteString AlivePrefix { get; }

    /// <summary>No key of a silo has more bytes than this.</summary>
    public int LongestKey => SilosPrefix.Length + LongestSilo;

    public RangeRequest Range => new() { Key = ByteString.CopyFromUtf8(Prefix), RangeEnd = EtcdKeys.RangeEnd(Prefix) };

    public RangeRequest AliveRange => new() { Key = AlivePrefix, RangeEnd = EtcdKeys.RangeEnd(_alive) };

    public ByteString RowKey(SiloAddress silo) => ByteString.CopyFromUtf8(_silos + EtcdKeys.Silo(silo));

    public ByteString LivenessKey(SiloAddress silo) => ByteString.CopyFromUtf8(LivenessPrefix + EtcdKeys.Silo(silo));

    public ByteString AliveKey(SiloAddress silo) => ByteString.CopyFromUtf8(_alive + EtcdKeys.Silo(silo));
}
