using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd;
using Orleans.Messaging;

namespace Orleans.Hosting;

/// <summary>
/// Makes silos and clients find each other through etcd.
/// </summary>
/// <example><code>
/// siloBuilder.UseEtcdClustering("http://127.0.0.1:2379");
/// clientBuilder.UseEtcdClustering("http://127.0.0.1:2379");
/// </code></example>
public static class EtcdClusteringExtensions
{
    /// <summary>Keeps the silo's membership in etcd.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="endpoints">Client URLs of etcd, separated by commas.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder UseEtcdClustering(this ISiloBuilder builder, string endpoints) =>
        builder.UseEtcdClustering(options => options.Endpoints = EtcdOptions.ParseEndpoints(endpoints));

    /// <summary>Keeps the silo's membership in etcd.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder UseEtcdClustering(this ISiloBuilder builder, Action<EtcdOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return builder.UseEtcdClustering((OptionsBuilder<EtcdOptions> options) => options.Configure(configure));
    }

    /// <summary>Keeps the silo's membership in etcd.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="configure">Configures the options, for example from other services.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder UseEtcdClustering(this ISiloBuilder builder, Action<OptionsBuilder<EtcdOptions>> configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddEtcdClient(configure);
        builder.Services.AddSingleton<IMembershipTable>(static services => services.OverEtcd<EtcdMembershipTable>(serviceKey: null));
        return builder;
    }

    /// <summary>Keeps the silo's membership in etcd, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder UseKeyedEtcdClustering(this ISiloBuilder builder, string serviceKey)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        builder.Services.AddSingleton<IMembershipTable>(services => services.OverEtcd<EtcdMembershipTable>(serviceKey));
        return builder;
    }

    /// <summary>Finds the cluster's gateways in etcd.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="endpoints">Client URLs of etcd, separated by commas.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder UseEtcdClustering(this IClientBuilder builder, string endpoints) =>
        builder.UseEtcdClustering(options => options.Endpoints = EtcdOptions.ParseEndpoints(endpoints));

    /// <summary>Finds the cluster's gateways in etcd.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder UseEtcdClustering(this IClientBuilder builder, Action<EtcdOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return builder.UseEtcdClustering((OptionsBuilder<EtcdOptions> options) => options.Configure(configure));
    }

    /// <summary>Finds the cluster's gateways in etcd.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="configure">Configures the options, for example from other services.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder UseEtcdClustering(this IClientBuilder builder, Action<OptionsBuilder<EtcdOptions>> configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        builder.Services.AddEtcdClient(configure);
        builder.Services.AddSingleton<IGatewayListProvider>(static services => services.OverEtcd<EtcdGatewayListProvider>(serviceKey: null));
        return builder;
    }

    /// <summary>Finds the cluster's gateways in etcd, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder UseKeyedEtcdClustering(this IClientBuilder builder, string serviceKey)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        builder.Services.AddSingleton<IGatewayListProvider>(services => services.OverEtcd<EtcdGatewayListProvider>(serviceKey));
        return builder;
    }
}
