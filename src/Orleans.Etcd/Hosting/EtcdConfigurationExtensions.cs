using Microsoft.Extensions.Configuration;
using Orleans.Configuration;
using Orleans.Etcd;

namespace Orleans.Hosting;

/// <summary>
/// <c>IConfiguration</c> from etcd, reloaded as it changes. Needs no silo.
/// </summary>
/// <example><code>
/// builder.Configuration.AddEtcd("http://127.0.0.1:2379", "app/shop/");
/// builder.Services.Configure&lt;ShopOptions&gt;(builder.Configuration.GetSection("Limits"));   // app/shop/Limits/MaxOpen
/// </code></example>
public static class EtcdConfigurationExtensions
{
    /// <summary>Adds all keys under a prefix, as text.</summary>
    /// <param name="builder">The configuration.</param>
    /// <param name="endpoints">Client URLs of the etcd members, separated by commas, semicolons or white space.</param>
    /// <param name="prefix">What the keys begin with; ends in a slash.</param>
    /// <returns>The builder, for more.</returns>
    /// <exception cref="InvalidOperationException">etcd could not be read within 10 s. Thrown by <c>builder.Configuration</c> at once, else by <c>Build</c>.</exception>
    public static IConfigurationBuilder AddEtcd(this IConfigurationBuilder builder, string endpoints, string prefix)
    {
        ArgumentException.ThrowIfNullOrEmpty(endpoints);
        return builder.AddEtcd(options =>
        {
            options.Etcd.Endpoints = EtcdOptions.ParseEndpoints(endpoints);
            options.Layers.Add(new EtcdConfigurationLayer(prefix));
        });
    }

    /// <summary>Adds what the options say.</summary>
    /// <param name="builder">The configuration.</param>
    /// <param name="configure">Sets the options.</param>
    /// <returns>The builder, for more.</returns>
    /// <exception cref="OrleansConfigurationException">The options are not usable; all reasons are named.</exception>
    /// <exception cref="InvalidOperationException">etcd could not be read in time, the layers are not optional, and there is no last known good file. Thrown by <c>builder.Configuration</c> at once, else by <c>Build</c>.</exception>
    public static IConfigurationBuilder AddEtcd(this IConfigurationBuilder builder, Action<EtcdConfigurationOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(builder);
        ArgumentNullException.ThrowIfNull(configure);
        var options = new EtcdConfigurationOptions();
        configure(options);
        EtcdConfigurationOptionsValidator.Validate(options);
        return builder.Add(new EtcdConfigurationSource(options));
    }
}
