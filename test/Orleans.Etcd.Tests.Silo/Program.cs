using System.Net;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Silo;

// One silo, from options such as --Endpoints=http://127.0.0.1:2379 --ClusterId=c --SiloPort=1 --GatewayPort=2; over Redis
// where --Redis=host:port says so, to compare with. With --Role=client a client instead.
var builder = Host.CreateApplicationBuilder(args);
builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Orleans.Etcd", LogLevel.Information).AddSimpleConsole(console =>
{
    console.SingleLine = true;
    console.UseUtcTimestamp = true;
    console.TimestampFormat = "HH:mm:ss.fff ";
});
var configuration = builder.Configuration;
if (configuration["Role"] == "client")
{
    builder.UseOrleansClient(client => client
        .UseEtcdClustering((OptionsBuilder<EtcdOptions> options) => options.BindEtcd(configuration))
        .AddEtcdLocks(configuration.GetSection("Locks").Bind)
        .Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = configuration["ClusterId"]!));
    Contend();
    await builder.Build().RunAsync();
    return;
}

builder.UseOrleans(silo => (configuration["Redis"] is { } redis
        ? silo.UseRedisClustering(redis)
        : silo.UseEtcdClustering((OptionsBuilder<EtcdOptions> options) => options.BindEtcd(configuration)).AddEtcdLocks(configuration.GetSection("Locks").Bind).AddEtcdConfig())
    .Configure<ClusterOptions>(options => options.ServiceId = options.ClusterId = configuration["ClusterId"]!)
    .Configure<ClusterMembershipOptions>(options =>
    {
        if (!configuration.GetValue<bool>("DefaultProbes"))
            options.ProbeQuickly();
        configuration.GetSection("Membership").Bind(options);
        options.UseLivenessGossip = configuration.GetValue("Gossip", options.UseLivenessGossip);
        options.MaxJoinAttemptTime = configuration.GetValue("MaxJoinAttemptTime", options.MaxJoinAttemptTime);
    })
    .Configure<EtcdLivenessOptions>(configuration.GetSection("Liveness").Bind)
    .Configure<GrainCollectionOptions>(configuration.GetSection("Collection").Bind)
    .Configure<SiloOptions>(options => options.SiloName = configuration["SiloName"]!)
    .ConfigureEndpoints(IPAddress.Loopback, configuration.GetValue<int>("SiloPort"), configuration.GetValue<int>("GatewayPort")));
builder.Services.AddHostedService<MembershipReporter>();
if (configuration.GetValue<bool>("WatchConfig"))
{
    builder.Services.AddSingleton<ConfigWatcher>();
    builder.Services.AddHostedService(services => services.GetRequiredService<ConfigWatcher>());
}

Contend();
await builder.Build().RunAsync();

void Contend()
{
    if (configuration["Contend"] is { } contended)
        builder.Services.AddHostedService(services => ActivatorUtilities.CreateInstance<LockContenders>(services, contended, configuration.GetValue("Contenders", 1), configuration["Register"] ?? ""));
}
