using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>Health checks as an application has them, without Orleans around.</summary>
internal static class HealthChecks
{
    public static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(2);

    public static ServiceProvider For(EtcdServer server, Action<IHealthChecksBuilder> add, Action<EtcdOptions>? configure = null)
    {
        var services = new ServiceCollection().AddLogging().AddEtcdClient(Over(server));
        if (configure is not null)
            services.AddEtcdClient(configure);
        add(services.AddHealthChecks());
        return services.BuildServiceProvider();
    }

    public static Action<EtcdOptions> Over(EtcdServer server) => options =>
    {
        options.Endpoints.Add(server.Endpoint.ToString());
        options.RequestTimeout = RequestTimeout;
    };

    public static async Task<HealthReportEntry> RunAsync(IServiceProvider services, string name = "etcd")
    {
        var report = await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(registration => registration.Name == name);
        return report.Entries[name];
    }
}
