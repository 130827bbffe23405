using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd;
using Orleans.LeaseProviders;

namespace Orleans.Hosting;

/// <summary>
/// Orleans' lease provider in etcd, for stream providers whose queues are balanced by leases.
/// </summary>
/// <example><code>
/// siloBuilder
///     .UseEtcdClustering("http://127.0.0.1:2379")
///     .AddEtcdLeaseProvider()
///     .AddMemoryStreams("orders", streams => streams.UseLeaseBasedQueueBalancer());
/// </code></example>
public static class EtcdLeaseProviderExtensions
{
    /// <summary>
    /// Keeps leases in etcd. They belong to the service, and a category is shared by all its clusters. What was released is
    /// free at once, what a dead silo held when its lease has expired; while etcd is away nothing is acquired or renewed.
    /// </summary>
    /// <param name="builder">The silo; its etcd connection is that of <c>UseEtcdClustering</c> or <c>AddEtcdClient</c>.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddEtcdLeaseProvider(this ISiloBuilder builder)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddLeaseProvider(serviceKey: null);
    }

    /// <summary>As <see cref="AddEtcdLeaseProvider"/>, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddKeyedEtcdLeaseProvider(this ISiloBuilder builder, string serviceKey)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddLeaseProvider(serviceKey);
    }

    private static ISiloBuilder AddLeaseProvider(this ISiloBuilder builder, string? serviceKey)
    {
        builder.Services.AddSingleton<ILeaseProvider>(services => services.OverEtcd<EtcdLeaseProvider>(serviceKey));
        builder.Services.AddSingleton<IConfigurationValidator>(services => new ConnectionValidator(services, serviceKey));
        return builder;
    }

    /// <summary>That there is a connection, as the silo starts and not when the first stream needs it.</summary>
    private sealed class ConnectionValidator(IServiceProvider services, string? serviceKey) : IConfigurationValidator
    {
        public void ValidateConfiguration() => services.GetEtcdConnection(serviceKey);
    }
}
