using System.Net;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;

namespace Orleans.Etcd.Sample;

/// <summary>One silo, in a process of its own: <c>silo NAME ENDPOINTS CLUSTER SILO-PORT GATEWAY-PORT</c>.</summary>
internal static class SiloCommand
{
    public static async Task<int> RunAsync(string[] args)
    {
        var (name, endpoints, cluster, siloPort, gatewayPort) = (args[0], args[1], args[2], int.Parse(args[3]), int.Parse(args[4]));
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Warning);
        builder.UseOrleans(silo => silo
            .UseEtcdClustering(endpoints)
            .AddEtcdLocks()
            .AddEtcdConfig(options => options.Namespaces.Add(Gates.Namespace(cluster)))
            .Configure<ClusterOptions>(options =>
            {
                options.ServiceId = "stadium";
                options.ClusterId = cluster;
            })
            .Configure<SiloOptions>(options => options.SiloName = name)
            .ConfigureEndpoints(IPAddress.Loopback, siloPort, gatewayPort));
        builder.Services.AddSingleton(services => services.GetRequiredKeyedService<IConfigView>(Gates.Namespace(cluster)));
        using var host = builder.Build();
        // The parent holds our standard input: its end, however it came about, is ours too.
        _ = Task.Run(async () =>
        {
            while (await Console.In.ReadLineAsync() is not null)
            {
            }

            Environment.Exit(1);
        });
        await host.RunAsync();
        return 0;
    }
}
