using System.Diagnostics;
using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Orleans.Etcd;

/// <summary>
/// Healthy when etcd answers a linearizable read, which takes a leader and a quorum; degraded when it does, but this silo's
/// own lease over the same connection is in doubt.
/// </summary>
internal sealed class EtcdHealthCheck(IServiceProvider services, string? serviceKey) : IHealthCheck
{
    public async Task<HealthCheckResult> CheckHealthAsync(HealthCheckContext context, CancellationToken cancellationToken = default)
    {
        var data = new Dictionary<string, object>();
        var clock = Stopwatch.StartNew();
        try
        {
            var etcd = services.GetEtcdConnection(serviceKey);
            data["endpoints"] = etcd.Description;
            // Under the prefix, where the user may read; it need not exist.
            var key = ByteString.CopyFromUtf8(etcd.Options.KeyPrefix + "/health");
            await etcd.RangeAsync(new RangeRequest { Key = key, CountOnly = true }, cancellationToken).ConfigureAwait(false);
            data["milliseconds"] = clock.Elapsed.TotalMilliseconds;
            if (services.GetService<ClusteringLifecycle>() is { } clustering && clustering.IsOver(etcd) && clustering.Lease is { IsHeld: false } lease)
            {
                data["leaseRemainingMilliseconds"] = lease.Remaining.TotalMilliseconds;
                return HealthCheckResult.Degraded("etcd answers, but this silo does not hold its liveness lease at the moment: the others may ask whether it lives.", data: data);
            }

            return HealthCheckResult.Healthy("etcd answers.", data);
        }
        catch (EtcdException exception)
        {
            data["error"] = exception.Code.ToString();
            return new HealthCheckResult(context.Registration.FailureStatus, exception.Message, exception, data);
        }
        catch (OrleansConfigurationException exception)
        {
            return new HealthCheckResult(context.Registration.FailureStatus, exception.Message, exception, data);
        }
    }
}
