using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>What the grains of a silo make their queues and sessions of.</summary>
internal sealed class LockQueues(EtcdConnection etcd, IOptions<ClusterOptions> cluster, ILoggerFactory loggers)
{
    private readonly ILogger _logger = loggers.CreateLogger<LockQueue>();

    public EtcdConnection Etcd => etcd;

    public string ServiceId => cluster.Value.ServiceId;

    public LockLayout Layout(LockKind kind, string name) => new(etcd.Options.KeyPrefix, ServiceId, kind, name);

    public LockQueue Open(LockKind kind, string name) => new(etcd, Layout(kind, name), ServiceId, _logger);

    public SessionLayout Session(long leaseId) => new(etcd.Options.KeyPrefix, ServiceId, leaseId);
}
