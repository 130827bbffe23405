using System.Runtime.CompilerServices;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd;

// Overloads with optional parameters: the type of the builder tells them apart.
#pragma warning disable RS0026

namespace Orleans.Hosting;

/// <summary>
/// Locks in etcd, for grains and clients.
/// </summary>
/// <example><code>
/// siloBuilder.UseEtcdClustering("http://127.0.0.1:2379").AddEtcdLocks();
/// clientBuilder.UseEtcdClustering("http://127.0.0.1:2379").AddEtcdLocks();
///
/// await using var held = await grains.GetLock("invoice-42").AcquireAsync(cancellationToken);
/// </code></example>
public static class EtcdLockExtensions
{
    // A grain factory leads to no services; that of a client does.
    private static readonly ConditionalWeakTable<IGrainFactory, ILocks> Known = [];

    /// <summary>Makes the silo broker locks, and lets its grains hold them. On every silo of the cluster.</summary>
    /// <param name="builder">The silo; its etcd connection is that of <c>UseEtcdClustering</c> or <c>AddEtcdClient</c>.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddEtcdLocks(this ISiloBuilder builder, Action<EtcdLockOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddLocks(serviceKey: null, configure);
    }

    /// <summary>As <see cref="AddEtcdLocks(ISiloBuilder, Action{EtcdLockOptions}?)"/>, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The silo.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The silo builder, for more.</returns>
    public static ISiloBuilder AddKeyedEtcdLocks(this ISiloBuilder builder, string serviceKey, Action<EtcdLockOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddLocks(serviceKey, configure);
    }

    /// <summary>
    /// Lets the client hold locks. Its session is kept over the connection of <c>UseEtcdClustering</c> or <c>AddEtcdClient</c>,
    /// and through the silos where it has none.
    /// </summary>
    /// <param name="builder">The client.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder AddEtcdLocks(this IClientBuilder builder, Action<EtcdLockOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        return builder.AddLocks(serviceKey: null, static services => services.GetService<EtcdConnection>() is null ? null : services.GetEtcdConnection(serviceKey: null), configure);
    }

    /// <summary>As <see cref="AddEtcdLocks(IClientBuilder, Action{EtcdLockOptions}?)"/>, over a connection registered with <c>AddKeyedEtcdClient</c>.</summary>
    /// <param name="builder">The client.</param>
    /// <param name="serviceKey">The connection's key.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The client builder, for more.</returns>
    public static IClientBuilder AddKeyedEtcdLocks(this IClientBuilder builder, string serviceKey, Action<EtcdLockOptions>? configure = null)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        return builder.AddLocks(serviceKey, services => services.GetEtcdConnection(serviceKey), configure);
    }

    /// <summary>The locks of this silo or client.</summary>
    /// <param name="grains">A grain's <c>GrainFactory</c>, or the cluster client.</param>
    /// <returns>The locks; the same that are injected as <see cref="ILocks"/>.</returns>
    /// <exception cref="InvalidOperationException"><c>AddEtcdLocks()</c> was not called, or the silo or client has not been started.</exception>
    public static ILocks GetLocks(this IGrainFactory grains)
    {
        ArgumentNullException.ThrowIfNull(grains);
        if (grains is IClusterClient client && client.ServiceProvider.GetService<ILocks>() is { } ofClient)
            return ofClient;
        return Known.TryGetValue(grains, out var locks)
            ? locks
            : throw new InvalidOperationException("There are no locks here: call AddEtcdLocks() on the silo's or client's builder, and start it.");
    }

    /// <summary>A mutex: <see cref="ILocks.GetLock"/>.</summary>
    /// <param name="grains">A grain's <c>GrainFactory</c>, or the cluster client.</param>
    /// <param name="name">Any text of 1 to 1,024 characters that is valid Unicode.</param>
    /// <returns>The lock; nothing is sent.</returns>
    /// <inheritdoc cref="GetLocks" path="/exception" />
    public static ILock GetLock(this IGrainFactory grains, string name) => grains.GetLocks().GetLock(name);

    private static ISiloBuilder AddLocks(this ISiloBuilder builder, string? serviceKey, Action<EtcdLockOptions>? configure)
    {
        var services = builder.Services;
        if (!services.AddLocks<SiloMessagingOptions>(serviceKey, provider => provider.GetEtcdConnection(serviceKey), configure))
            return builder;
        services.AddSingleton(provider => new LockQueues(
            provider.GetEtcdConnection(serviceKey),
            provider.GetRequiredService<IOptions<ClusterOptions>>(),
            provider.GetRequiredService<ILoggerFactory>()));
        services.AddSingleton(provider => new SessionStore(provider.GetEtcdConnection(serviceKey), provider.GetRequiredService<IOptions<ClusterOptions>>().Value.ServiceId));
        services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(static provider => new SiloLocks(provider));
        return builder;
    }

    private static IClientBuilder AddLocks(this IClientBuilder builder, string? serviceKey, Func<IServiceProvider, EtcdConnection?> etcd, Action<EtcdLockOptions>? configure)
    {
        if (builder.Services.AddLocks<ClientMessagingOptions>(serviceKey, etcd, configure))
            builder.Services.AddSingleton<ILifecycleParticipant<IClusterClientLifecycle>>(static provider => new ClientLocks(provider));
        return builder;
    }

    /// <summary>What silo and client have in common; false where it was there already.</summary>
    private static bool AddLocks<TMessaging>(this IServiceCollection services, string? serviceKey, Func<IServiceProvider, EtcdConnection?> etcd, Action<EtcdLockOptions>? configure)
        where TMessaging : MessagingOptions
    {
        if (configure is not null)
            services.Configure(configure);
        services.ClaimConnection("locks", serviceKey);
        if (services.Any(service => service.ServiceType == typeof(ILocks)))
            return false;
        services.AddSingleton<IConfigurationValidator, EtcdLockOptionsValidator>();
        services.ConfigureFormatter<EtcdLockOptions>();
        services.AddSingleton(provider => Create(provider, etcd(provider), provider.GetRequiredService<IOptions<TMessaging>>().Value.ResponseTimeout));
        services.AddSingleton<ILocks>(static provider => provider.GetRequiredService<EtcdLocks>());
        return true;
    }

    private static EtcdLocks Create(IServiceProvider services, EtcdConnection? etcd, TimeSpan responseTimeout)
    {
        var options = services.GetRequiredService<IOptions<EtcdLockOptions>>().Value;
        var grains = services.GetRequiredService<IGrainFactory>();
        var time = services.GetService<TimeProvider>() ?? TimeProvider.System;
        var loggers = services.GetRequiredService<ILoggerFactory>();
        var store = etcd is null ? null : new SessionStore(etcd, services.GetRequiredService<IOptions<ClusterOptions>>().Value.ServiceId);
        var logger = loggers.CreateLogger<LockSession>();
        var sessions = new LockSessions(
            stop => store is null
                ? GrainSessionLink.OpenAsync(grains.GetGrain<ILockSessionGrain>(0), options.SessionTtl, options.Owner, time, logger, stop)
                : EtcdSessionLink.OpenAsync(store, options.SessionTtl, options.Owner, stop),
            time,
            logger);
        var longest = responseTimeout / 2;
        return new EtcdLocks(new LockContext((kind, name) => LockContext.GrainOf(grains, kind, name), sessions, time)
        {
            Owner = options.Owner,
            ReleaseTimeout = options.ReleaseTimeout,
            OutageTimeout = options.OutageTimeout,
            MaxCall = longest < LockQueue.CallLimit ? longest : LockQueue.CallLimit,
        });
    }

    private static Task PublishAsync(IServiceProvider services)
    {
        Known.AddOrUpdate(services.GetRequiredService<IGrainFactory>(), services.GetRequiredService<ILocks>());
        return Task.CompletedTask;
    }

    private static async Task CloseAsync(IServiceProvider services) => await services.GetRequiredService<EtcdLocks>().DisposeAsync().ConfigureAwait(false);

    /// <summary>There before the first grain is, and ended when the last one has been deactivated and has released what it held.</summary>
    private sealed class SiloLocks(IServiceProvider services) : ILifecycleParticipant<ISiloLifecycle>
    {
        public void Participate(ISiloLifecycle lifecycle)
        {
            lifecycle.Subscribe(nameof(SiloLocks), ServiceLifecycleStage.RuntimeServices, _ => PublishAsync(services), _ => CloseAsync(services));
            lifecycle.Subscribe(nameof(SiloLocks), ServiceLifecycleStage.Active, _ => Task.CompletedTask, _ => EndWaitsAsync());
        }

        // A grain that waits here is not deactivated before its wait is over, and all that this silo holds stays held until then.
        private Task EndWaitsAsync()
        {
            services.GetRequiredService<LockQueues>().EndWaits();
            return services.GetRequiredService<EtcdLocks>().EndWaitsAsync();
        }
    }

    /// <summary>Ended while the client is still connected, which one needs that does not reach etcd.</summary>
    private sealed class ClientLocks(IServiceProvider services) : ILifecycleParticipant<IClusterClientLifecycle>
    {
        public void Participate(IClusterClientLifecycle lifecycle) =>
            lifecycle.Subscribe(nameof(ClientLocks), ServiceLifecycleStage.ApplicationServices, _ => PublishAsync(services), _ => CloseAsync(services));
    }
}
