using System.Net;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>Hosts as an application would build them: one silo or one client, with ids and ports of its own.</summary>
internal static class Hosts
{
    public static IHost Silo(Action<ISiloBuilder> configure, ILoggerProvider? log = null)
    {
        var builder = Quiet(log);
        builder.UseOrleans(silo =>
        {
            silo.WithId(NewId());
            silo.ConfigureEndpoints(IPAddress.Loopback, LoopbackPort.Take(), LoopbackPort.Take());
            configure(silo);
        });
        return builder.Build();
    }

    public static IHost Client(Action<IClientBuilder> configure, ILoggerProvider? log = null)
    {
        var builder = Quiet(log);
        builder.UseOrleansClient(client =>
        {
            client.WithId(NewId());
            configure(client);
        });
        return builder.Build();
    }

    /// <summary>A silo from nothing but configuration.</summary>
    public static IHost Silo(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services = null)
    {
        var builder = Configured(settings, services);
        builder.UseOrleans();
        return builder.Build();
    }

    /// <summary>A client from nothing but configuration.</summary>
    public static IHost Client(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services = null)
    {
        var builder = Configured(settings, services);
        builder.UseOrleansClient();
        return builder.Build();
    }

    public static ISiloBuilder WithId(this ISiloBuilder silo, string id) =>
        silo.Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = id);

    public static IClientBuilder WithId(this IClientBuilder client, string id) =>
        client.Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = id);

    public static string NewId() => $"hosting-{Guid.NewGuid():N}";

    private static HostApplicationBuilder Configured(IEnumerable<KeyValuePair<string, string?>> settings, Action<IServiceCollection>? services)
    {
        var builder = Quiet(log: null);
        builder.Configuration.AddInMemoryCollection(settings);
        services?.Invoke(builder.Services);
        return builder;
    }

    private static HostApplicationBuilder Quiet(ILoggerProvider? log)
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        if (log is not null)
            builder.Logging.SetMinimumLevel(LogLevel.Trace).AddFilter(null, LogLevel.Trace).AddProvider(log);
        return builder;
    }
}
