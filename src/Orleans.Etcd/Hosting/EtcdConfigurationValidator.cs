using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>Which connection is meant; a type of its own, since a null cannot be passed to an activator.</summary>
internal sealed record EtcdServiceKey(string? Value);

/// <summary>Stops a silo or a client before it starts where its etcd options or its ids cannot work.</summary>
internal sealed class EtcdConfigurationValidator(
    EtcdServiceKey serviceKey,
    IServiceProvider services,
    IOptionsMonitor<EtcdOptions> options,
    IOptions<ClusterOptions> cluster) : IConfigurationValidator
{
    public void ValidateConfiguration()
    {
        try
        {
            var prefix = EtcdOptions.DefaultKeyPrefix;
            if (serviceKey.Value is null)
                prefix = options.CurrentValue.KeyPrefix;
            else if (!services.GetRequiredService<IServiceProviderIsKeyedService>().IsKeyedService(typeof(EtcdConnection), serviceKey.Value))
                throw new OrleansConfigurationException($"Clustering is to use the etcd connection '{serviceKey.Value}', but none is registered: call services.AddKeyedEtcdClient(\"{serviceKey.Value}\", …).");
            _ = new MembershipLayout(prefix, cluster.Value);
        }
        catch (OptionsValidationException exception)
        {
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, exception.Failures), exception);
        }
        catch (ArgumentException exception)
        {
            throw new OrleansConfigurationException($"{nameof(ClusterOptions)} cannot be used as etcd keys: {exception.Message}", exception);
        }
    }
}
