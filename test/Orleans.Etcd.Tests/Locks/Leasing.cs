using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.LeaseProviders;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>A lease provider over a connection of its own, as one silo has it, in the words of a test.</summary>
internal sealed class Leasing(EtcdConnection etcd, string serviceId) : IAsyncDisposable
{
    public const string Category = "queues";

    public EtcdConnection Etcd => etcd;

    public ILeaseProvider Provider { get; } = new EtcdLeaseProvider(etcd, Microsoft.Extensions.Options.Options.Create(new ClusterOptions { ServiceId = serviceId, ClusterId = "c" }));

    public async Task<AcquireLeaseResult> AcquireAsync(string resource, TimeSpan duration) =>
        Assert.Single(await Provider.Acquire(Category, [new LeaseRequest(resource, duration)]));

    public async Task<AcquiredLease> HoldAsync(string resource, TimeSpan duration)
    {
        var result = await AcquireAsync(resource, duration);
        Assert.Equal(ResponseCode.OK, result.StatusCode);
        Assert.Null(result.FailureException);
        return result.AcquiredLease!;
    }

    public async Task<AcquireLeaseResult> RenewAsync(AcquiredLease lease) => Assert.Single(await Provider.Renew(Category, [lease]));

    public Task ReleaseAsync(AcquiredLease lease) => Provider.Release(Category, [lease]);

    /// <summary>All keys of the service's leases, and the leases on which they hang.</summary>
    public async Task<Dictionary<string, long>> KeysAsync()
    {
        var prefix = $"orleans/{serviceId}/leases/";
        var response = await etcd.RangeAsync(Txn.Range(prefix));
        return response.Kvs.ToDictionary(kv => kv.Key.ToStringUtf8()[prefix.Length..], kv => kv.Lease);
    }

    /// <summary>How many leases there are on a server, whatever hangs on them.</summary>
    public static async Task<long> CountAsync(EtcdServer server) =>
        await GrantedAsync(server) - await Metrics.ReadAsync(server, "etcd_debugging_lease_revoked_total", string.Empty);

    /// <summary>How many leases a server has ever granted.</summary>
    public static Task<long> GrantedAsync(EtcdServer server) => Metrics.ReadAsync(server, "etcd_debugging_lease_granted_total", string.Empty);

    public ValueTask DisposeAsync() => etcd.DisposeAsync();
}
