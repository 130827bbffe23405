using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd;
using Orleans.Providers;

[assembly: RegisterProvider("Etcd", "Clustering", "Silo", typeof(EtcdClusteringProviderBuilder))]
[assembly: RegisterProvider("Etcd", "Clustering", "Client", typeof(EtcdClusteringProviderBuilder))]

namespace Orleans.Etcd;

/// <summary>
/// Clustering by configuration alone: <c>Orleans:Clustering:ProviderType</c> = <c>Etcd</c> with <c>ServiceKey</c> (a
/// registered connection), <c>ConnectionName</c> (a connection string with endpoints) or <c>Endpoints</c>; other
/// options of <see cref="EtcdOptions"/> stand beside them under their own names. Those of
/// <see cref="EtcdLivenessOptions"/> stand in a section <c>Liveness</c> below.
/// </summary>
internal sealed class EtcdClusteringProviderBuilder : IProviderBuilder<ISiloBuilder>, IProviderBuilder<IClientBuilder>
{
    private static readonly HashSet<string> OfAConnection =
        new(typeof(EtcdOptions).GetProperties().Select(property => property.Name).Concat(["ConnectionName", "ConnectionString"]), StringComparer.OrdinalIgnoreCase);

    public void Configure(ISiloBuilder builder, string? name, IConfigurationSection configurationSection)
    {
        if (ServiceKey(configurationSection) is { } key)
            builder.UseKeyedEtcdClustering(key);
        else
            builder.UseEtcdClustering(options => Bind(options, configurationSection));
        builder.Configure<EtcdLivenessOptions>(configurationSection.GetSection("Liveness").BindTo);
    }

    public void Configure(IClientBuilder builder, string? name, IConfigurationSection configurationSection)
    {
        if (ServiceKey(configurationSection) is { } key)
            builder.UseKeyedEtcdClustering(key);
        else
            builder.UseEtcdClustering(options => Bind(options, configurationSection));
    }

    private static string? ServiceKey(IConfigurationSection section)
    {
        if (section["ServiceKey"] is not { Length: > 0 } key)
            return null;
        // A registered connection has options of its own; that these go unheard would be noticed late.
        var unheard = section.GetChildren().Select(child => child.Key).Where(OfAConnection.Contains).ToArray();
        return unheard.Length == 0
            ? key
            : throw new OrleansConfigurationException($"{section.Path}:ServiceKey names the connection '{key}', which has options of its own: set {string.Join(", ", unheard)} there, or remove ServiceKey.");
    }

    private static void Bind(OptionsBuilder<EtcdOptions> options, IConfigurationSection section)
    {
        options.BindEtcd(section);
        options.Configure<IServiceProvider>((etcd, services) =>
        {
            if (etcd.Endpoints.Count > 0)
                return;
            var endpoints = section["ConnectionString"];
            if (string.IsNullOrEmpty(endpoints) && section["ConnectionName"] is { Length: > 0 } connection)
            {
                endpoints = services.GetRequiredService<IConfiguration>().GetConnectionString(connection)
                    ?? throw new OrleansConfigurationException($"{section.Path}:ConnectionName is '{connection}', but there is no connection string of that name.");
            }

            etcd.Endpoints = EtcdOptions.ParseEndpoints(endpoints);
        });
    }
}
