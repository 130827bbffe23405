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
}
