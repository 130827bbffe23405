using Microsoft.Extensions.Configuration;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>What <c>AddEtcd</c> adds.</summary>
internal sealed class EtcdConfigurationSource(EtcdConfigurationOptions options) : IConfigurationSource
{
    public IConfigurationProvider Build(IConfigurationBuilder builder) => new EtcdConfigurationProvider(options);
}
