using System.Collections.Immutable;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd;

namespace Orleans.Hosting;

/// <summary>
/// Live configuration in etcd, for grains, silos and clients.
/// </summary>
/// <example><code>
/// siloBuilder.UseEtcdClustering("http://127.0.0.1:2379").AddEtcdConfig();
///
/// var limit = await grains.GetGrain&lt;IConfigGrain&gt;("orders").Get&lt;int&gt;("max-open");
/// </code></example>
public static class EtcdConfigExtensions
{
    /// <summary>Makes the silo serve configuration: <see cref="IConfigGrain"/>, and <see cref="IConfigView"/> for what is injected. On every silo of the cluster.</summary>
    /// <param name="builder">The silo; its etcd connection is that of <c>UseEtcdClustering</c> or <c>AddEtcdClient</c>.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddEtcdConfig(this ISiloBuilder builder, Action<EtcdConfigOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddConfig(serviceKey: null, configure);
    }

    /// <summary>As <see cref="AddEtcdConfig"/>, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddKeyedEtcdConfig(this ISiloBuilder builder, string serviceKey, Action<EtcdConfigOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddConfig(serviceKey, configure);
    }

    private static ISiloBuilder AddConfig(this ISiloBuilder builder, string? serviceKey, Action<EtcdConfigOptions>? configure)
    {
        var services = builder.Services;
        if (configure is not null)
            services.Configure(configure);
        services.ClaimConnection("config", serviceKey);
        if (services.Any(service => service.ServiceType == typeof(ConfigFeeds)))
            return builder;
        services.AddSingleton<IConfigurationValidator, EtcdConfigOptionsValidator>();
        services.ConfigureFormatter<EtcdConfigOptions>();
        services.AddSingleton(provider => CreateFeeds(provider, serviceKey));
        services.AddKeyedSingleton(KeyedService.AnyKey, static (provider, key) => CreateView(provider, key as string));
        services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(static provider => new SiloConfig(provider));
        return builder;
    }

    private static ConfigFeeds CreateFeeds(IServiceProvider services, string? serviceKey)
    {
        var options = services.GetRequiredService<IOptions<EtcdConfigOptions>>().Value;
        var etcd = services.GetEtcdConnection(serviceKey);
        var (prefix, service) = (etcd.Options.KeyPrefix, services.GetRequiredService<IOptions<ClusterOptions>>().Value.ServiceId);
        return new ConfigFeeds(
            etcd,
            options.Root ?? EtcdKeys.Config(prefix, service),
            EtcdKeys.ConfigHistory(prefix, service),
            options.HistoryLimit,
            services.GetRequiredService<ILoggerFactory>());
    }

    private static IConfigView CreateView(IServiceProvider services, string? name)
    {
        if (name is null)
            throw new InvalidOperationException("An IConfigView is injected under the name of its namespace: [FromKeyedServices(\"orders\")].");
        var options = services.GetRequiredService<IOptions<EtcdConfigOptions>>().Value;
        var instance = new ConfigInstance(options.InstanceName ?? services.GetRequiredService<IOptions<SiloOptions>>().Value.SiloName) { Labels = options.Labels.ToImmutableDictionary() };
        return new ConfigView(services.GetRequiredService<ConfigFeeds>().Open(name), instance);
    }

    /// <summary>What was named is read before the first grain is called; all waits end when the silo begins to stop.</summary>
    private sealed class SiloConfig(IServiceProvider services) : ILifecycleParticipant<ISiloLifecycle>
    {
        public void Participate(ISiloLifecycle lifecycle)
        {
            lifecycle.Subscribe(nameof(SiloConfig), ServiceLifecycleStage.RuntimeServices, ReadAsync, _ => CloseAsync());
            lifecycle.Subscribe(nameof(SiloConfig), ServiceLifecycleStage.Active, _ => Task.CompletedTask, _ => EndWaitsAsync());
        }

        private async Task ReadAsync(CancellationToken cancellationToken)
        {
            // Also where no namespace is named: without a connection the silo is not to start.
            _ = services.GetRequiredService<ConfigFeeds>();
            var options = services.GetRequiredService<IOptions<EtcdConfigOptions>>().Value;
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            limit.CancelAfter(options.StartupTimeout);
            foreach (var name in options.Namespaces.Distinct(StringComparer.Ordinal))
            {
                try
                {
                    await services.GetRequiredKeyedService<IConfigView>(name).ReadyAsync(cancellationToken: limit.Token).ConfigureAwait(false);
                }
                catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
                {
                    throw new TimeoutException($"Namespace '{name}' could not be read from etcd within {options.StartupTimeout} (EtcdConfigOptions.StartupTimeout).");
                }
            }
        }

        private Task EndWaitsAsync()
        {
            services.GetRequiredService<ConfigFeeds>().EndWaits();
            return Task.CompletedTask;
        }

        private async Task CloseAsync() => await services.GetRequiredService<ConfigFeeds>().DisposeAsync().ConfigureAwait(false);
    }
}
