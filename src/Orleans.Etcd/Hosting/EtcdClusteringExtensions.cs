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
        return builder.AddMembership(serviceKey: null);
    }

    /// <summary>Keeps the silo's membership in etcd, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder UseKeyedEtcdClustering(this ISiloBuilder builder, string serviceKey)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddMembership(serviceKey);
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
        return builder.AddGateways(serviceKey: null);
    }

    /// <summary>Finds the cluster's gateways in etcd, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder UseKeyedEtcdClustering(this IClientBuilder builder, string serviceKey)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddGateways(serviceKey);
    }

    private static ISiloBuilder AddMembership(this ISiloBuilder builder, string? serviceKey)
    {
        var services = builder.Services;
        services.AddSingleton<IMembershipTable>(provider => provider.OverEtcd<EtcdMembershipTable>(serviceKey));
        if (services.Any(service => service.ServiceType == typeof(ClusteringLifecycle)))
            return builder;
        services.AddSingleton<IConfigurationValidator, EtcdLivenessOptionsValidator>();
        services.ConfigureFormatter<EtcdLivenessOptions>();
        services.AddSingleton<LivenessClient>();
        services.AddSingleton(static provider => new LivenessProbe(
            provider.GetRequiredService<LivenessClient>().Of,
            provider.GetRequiredService<IOptions<EtcdLivenessOptions>>().Value.PingTimeout,
            provider.GetService<TimeProvider>() ?? TimeProvider.System));
        services.AddSingleton<ClusteringLifecycle>();
        services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(static provider => provider.GetRequiredService<ClusteringLifecycle>());
        return builder.AddGrainService<LivenessService>();
    }

    private static IClientBuilder AddGateways(this IClientBuilder builder, string? serviceKey)
    {
        builder.Services.AddSingleton<IGatewayListProvider>(provider => provider.OverEtcd<EtcdGatewayListProvider>(serviceKey));
        // First of all, so that a user's own setting wins wherever it stands.
        if (!builder.Services.Any(service => service.ImplementationType == typeof(PushedGatewayList)))
            builder.Services.Insert(0, ServiceDescriptor.Singleton<IConfigureOptions<GatewayOptions>, PushedGatewayList>());
        return builder;
    }

    /// <summary>The list is kept up to date by a watch, so that looking at it costs no call to etcd.</summary>
    private sealed class PushedGatewayList : IConfigureOptions<GatewayOptions>
    {
        public void Configure(GatewayOptions options) => options.GatewayListRefreshPeriod = TimeSpan.FromSeconds(1);
    }
}
