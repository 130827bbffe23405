using System.Diagnostics;
using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Diagnostics.HealthChecks;

namespace Orleans.Etcd;

/// <summary>Healthy when etcd answers a linearizable read, which takes a leader and a quorum.</summary>
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
