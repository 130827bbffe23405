using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd;
using Orleans.Serialization;

namespace Orleans.Hosting;

/// <summary>
/// Registers the <see cref="EtcdConnection"/> of a process: one for all, or several under keys.
/// </summary>
public static class EtcdClientServiceCollectionExtensions
{
    /// <summary>Registers the connection that everything uses unless it is given a key.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Sets the options; called again for each registration, in order.</param>
    /// <returns>The services, for more.</returns>
    public static IServiceCollection AddEtcdClient(this IServiceCollection services, Action<EtcdOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return services.AddEtcdClient(options => options.Configure(configure));
    }

    /// <summary>Registers the connection that everything uses unless it is given a key.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Configures the options, for example from other services.</param>
    /// <returns>The services, for more.</returns>
    public static IServiceCollection AddEtcdClient(this IServiceCollection services, Action<OptionsBuilder<EtcdOptions>> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        configure(AddOptions(services, Microsoft.Extensions.Options.Options.DefaultName));
        services.ConfigureFormatter<EtcdOptions>();
        services.TryAddSingleton(static provider => Create(provider, Microsoft.Extensions.Options.Options.DefaultName));
        return services;
    }

    /// <summary>Registers a connection under a key, to be shared by those that name it.</summary>
    /// <param name="services">The services.</param>
    /// <param name="serviceKey">The key; also the name of its options.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The services, for more.</returns>
    public static IServiceCollection AddKeyedEtcdClient(this IServiceCollection services, string serviceKey, Action<EtcdOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(configure);
        return services.AddKeyedEtcdClient(serviceKey, options => options.Configure(configure));
    }

    /// <summary>Registers a connection under a key, to be shared by those that name it.</summary>
    /// <param name="services">The services.</param>
    /// <param name="serviceKey">The key; also the name of its options.</param>
    /// <param name="configure">Configures the options, for example from other services.</param>
    /// <returns>The services, for more.</returns>
    public static IServiceCollection AddKeyedEtcdClient(this IServiceCollection services, string serviceKey, Action<OptionsBuilder<EtcdOptions>> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentException.ThrowIfNullOrEmpty(serviceKey);
        ArgumentNullException.ThrowIfNull(configure);
        configure(AddOptions(services, serviceKey));
        services.ConfigureNamedOptionForLogging<EtcdOptions>(serviceKey);
        services.TryAddKeyedSingleton(serviceKey, static (provider, key) => Create(provider, (string)key!));
        return services;
    }

    /// <summary>Binds options from a configuration section; <c>Endpoints</c> may be an array or one string with commas.</summary>
    /// <param name="options">The options.</param>
    /// <param name="section">The section, such as <c>Etcd</c>.</param>
    /// <returns>The options builder, for more.</returns>
    public static OptionsBuilder<EtcdOptions> BindEtcd(this OptionsBuilder<EtcdOptions> options, IConfiguration section)
    {
        ArgumentNullException.ThrowIfNull(options);
        ArgumentNullException.ThrowIfNull(section);
        return options.Configure(etcd =>
        {
            section.BindTo(etcd);
            if (section[nameof(EtcdOptions.Endpoints)] is { Length: > 0 } endpoints)
                etcd.Endpoints = EtcdOptions.ParseEndpoints(endpoints);
        });
    }

    /// <summary>Fills options from configuration.</summary>
    /// <exception cref="OrleansConfigurationException">A value does not fit.</exception>
    internal static void BindTo(this IConfiguration section, object options)
    {
        try
        {
            section.Bind(options);
        }
        catch (InvalidOperationException exception)
        {
            // It names the value and where it stands.
            throw new OrleansConfigurationException(exception.Message, exception);
        }
    }

    private static OptionsBuilder<EtcdOptions> AddOptions(IServiceCollection services, string name)
    {
        services.TryAddEnumerable(ServiceDescriptor.Singleton<IValidateOptions<EtcdOptions>, EtcdOptionsValidator>());
        // What a grain throws carries gRPC's exception within: Orleans could not send it to a caller on another silo or in a
        // client, who would be told of a codec that is missing.
        services.Configure<ExceptionSerializationOptions>(static options => options.SupportedNamespacePrefixes.Add("Grpc"));
        return services.AddOptions<EtcdOptions>(name);
    }

    private static EtcdConnection Create(IServiceProvider services, string name) => new(
        services.GetRequiredService<IOptionsMonitor<EtcdOptions>>().Get(name),
        services.GetService<ILoggerFactory>(),
        services.GetService<TimeProvider>());
}
