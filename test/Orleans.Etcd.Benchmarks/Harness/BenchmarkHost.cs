using System.Net;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Silos and clients in this process, with default options.</summary>
internal static class BenchmarkHost
{
    /// <summary>A silo of that cluster, which is also its service.</summary>
    public static IHost Silo(string id, Action<ISiloBuilder> configure) => Bare().UseOrleans(silo =>
    {
        silo.Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = id);
        silo.ConfigureEndpoints(IPAddress.Loopback, LoopbackPort.Take(), LoopbackPort.Take());
        configure(silo);
    }).Build();

    public static IHost Client(string id, Action<IClientBuilder> configure) => Bare().UseOrleansClient(client =>
    {
        client.Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = id);
        configure(client);
    }).Build();

    // What else makes a host of .NET's watches all files under the working directory, of which etcd writes many.
    private static IHostBuilder Bare() => new HostBuilder().ConfigureLogging(logging => logging.ClearProviders());
}
