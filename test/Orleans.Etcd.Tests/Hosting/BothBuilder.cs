using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>A silo and a client in one container. Orleans' own builders refuse that in one host.</summary>
internal sealed class BothBuilder : ISiloBuilder, IClientBuilder
{
    public IServiceCollection Services { get; } = new ServiceCollection().AddLogging();

    public IConfiguration Configuration { get; } = new ConfigurationBuilder().Build();

    public static ServiceProvider Build(Uri endpoint)
    {
        var builder = new BothBuilder();
        ((ISiloBuilder)builder).UseEtcdClustering(endpoint.ToString());
        ((IClientBuilder)builder).UseEtcdClustering(endpoint.ToString());
        return builder.Services.Configure<Orleans.Configuration.ClusterOptions>(options => options.ServiceId = options.ClusterId = Hosts.NewId()).BuildServiceProvider();
    }
}
