using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Orleans.Etcd;

namespace Orleans.Hosting;

/// <summary>Adds etcd to the health checks of an application.</summary>
public static class EtcdHealthCheckExtensions
{
    /// <summary>
    /// Adds a check that is healthy when etcd answers a linearizable read, within twice the request timeout, and degraded when it
    /// does, but a silo over the same connection does not hold its own liveness lease at the moment. A connection that
    /// cannot be made, for want of usable options or of a registration under the key, is a failure like any other.
    /// </summary>
    /// <param name="builder">The health checks.</param>
    /// <param name="name">The check's name; default <c>etcd</c>.</param>
    /// <param name="serviceKey">The key of the connection; default the one without a key.</param>
    /// <param name="failureStatus">What a failure counts as; default unhealthy.</param>
    /// <param name="tags">Tags to filter by; default none.</param>
    /// <param name="timeout">Ends the check earlier than the request timeout would; default not.</param>
    /// <returns>The health checks, for more.</returns>
    public static IHealthChecksBuilder AddEtcd(
        this IHealthChecksBuilder builder,
        string name = "etcd",
        string? serviceKey = null,
        HealthStatus? failureStatus = null,
        IEnumerable<string>? tags = null,
        TimeSpan? timeout = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.Add(new HealthCheckRegistration(name, services => new EtcdHealthCheck(services, serviceKey), failureStatus, tags, timeout));
    }
}
