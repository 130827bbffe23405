using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// Makes what depends on the configuration, or says in Orleans' own exception what is wrong with it. Said here and
/// not by an <see cref="IConfigurationValidator"/>: Orleans makes the membership table before it asks those.
/// </summary>
internal static class ConfiguredServices
{
    /// <summary>The connection of a key, or the one without.</summary>
    /// <exception cref="OrleansConfigurationException">None is registered, or its options are not usable.</exception>
    public static EtcdConnection GetEtcdConnection(this IServiceProvider services, string? serviceKey)
    {
        try
        {
            return serviceKey is null
                ? services.GetService<EtcdConnection>()
                    ?? throw new OrleansConfigurationException("An etcd connection is to be used, but none is registered: call UseEtcdClustering(…) or services.AddEtcdClient(…), or name the key of one that was registered with one.")
                : services.GetKeyedService<EtcdConnection>(serviceKey)
                    ?? throw new OrleansConfigurationException($"The etcd connection '{serviceKey}' is to be used, but none is registered: call services.AddKeyedEtcdClient(\"{serviceKey}\", …).");
        }
        catch (OptionsValidationException exception)
        {
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, exception.Failures), exception);
        }
    }

    /// <summary>Notes over which connection a feature works: of two, one would silently be left out.</summary>
    /// <exception cref="OrleansConfigurationException">It was added over another one before.</exception>
    public static void ClaimConnection(this IServiceCollection services, string feature, string? serviceKey)
    {
        var claims = services.Where(service => service.ServiceType == typeof(Claim)).Select(service => (Claim)service.ImplementationInstance!);
        if (claims.FirstOrDefault(claim => claim.Feature == feature) is not { } before)
            services.AddSingleton(new Claim(feature, serviceKey));
        else if (before.ServiceKey != serviceKey)
            throw new OrleansConfigurationException($"The {feature} of etcd were added twice, over {Name(before.ServiceKey)} and over {Name(serviceKey)}: a silo or client has them over one.");

        static string Name(string? key) => key is null ? "the connection without a key" : $"the connection '{key}'";
    }

    /// <summary>The membership table, the gateway list or the lease provider, over the connection of a key.</summary>
    /// <exception cref="OrleansConfigurationException">There is no such connection, or the cluster's ids cannot be keys.</exception>
    public static T OverEtcd<T>(this IServiceProvider services, string? serviceKey)
    {
        var etcd = services.GetEtcdConnection(serviceKey);
        try
        {
            _ = new MembershipLayout(etcd.Options.KeyPrefix, services.GetRequiredService<IOptions<ClusterOptions>>().Value);
        }
        catch (ArgumentException exception)
        {
            throw new OrleansConfigurationException($"{nameof(ClusterOptions)} cannot be used as etcd keys: {exception.Message}", exception);
        }

        return ActivatorUtilities.CreateInstance<T>(services, etcd);
    }

    private sealed record Claim(string Feature, string? ServiceKey);
}
