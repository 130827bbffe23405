using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class HealthCheckTests : IAsyncLifetime
{
    private static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(2);

    private EtcdServer _server = null!;

    public async Task InitializeAsync() => _server = await EtcdServer.StartAsync();

    public async Task DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public async Task AddEtcd_Running_IsHealthy()
    {
        await using var services = Services(checks => checks.AddEtcd());
        var entry = await CheckAsync(services);
        Assert.Equal(HealthStatus.Healthy, entry.Status);
        Assert.Contains($":{_server.Endpoint.Port}", (string)entry.Data["endpoints"]);
    }

    [Fact]
    public async Task AddEtcd_StoppedAndStartedAgain_IsUnhealthyAndRecovers()
    {
        await using var services = Services(checks => checks.AddEtcd());
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(services)).Status);

        await _server.StopAsync();
        await AssertUnhealthyAsync(services, EtcdErrorCode.Unavailable);

        await _server.RestartAsync();
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(services)).Status);
    }

    [Fact]
    public async Task AddEtcd_PausedAndResumed_IsUnhealthyAndRecovers()
    {
        await using var services = Services(checks => checks.AddEtcd());
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(services)).Status);

        _server.Pause();
        await AssertUnhealthyAsync(services, EtcdErrorCode.Timeout);

        _server.Resume();
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(services)).Status);
    }

    [Fact]
    public async Task AddEtcd_WithTimeout_EndsEarlier()
    {
        await using var services = Services(checks => checks.AddEtcd(timeout: TimeSpan.FromMilliseconds(200)), options => options.RequestTimeout = TimeSpan.FromMinutes(5));
        _server.Pause();
        var clock = Stopwatch.StartNew();
        Assert.Equal(HealthStatus.Unhealthy, (await CheckAsync(services)).Status);
        Assert.InRange(clock.Elapsed, TimeSpan.FromMilliseconds(200), TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task AddEtcd_WithFailureStatus_ReportsIt()
    {
        await using var services = Services(checks => checks.AddEtcd(failureStatus: HealthStatus.Degraded));
        await _server.StopAsync();
        Assert.Equal(HealthStatus.Degraded, (await CheckAsync(services)).Status);
    }

    [Fact]
    public async Task AddEtcd_WithKey_ChecksThatConnection()
    {
        await using var other = await EtcdServer.StartAsync();
        await using var services = Services(checks =>
        {
            checks.Services.AddKeyedEtcdClient("other", Configure(other));
            checks.AddEtcd().AddEtcd("other", serviceKey: "other");
        });
        await other.StopAsync();
        Assert.Equal(HealthStatus.Healthy, (await CheckAsync(services)).Status);
        Assert.Equal(HealthStatus.Unhealthy, (await CheckAsync(services, "other")).Status);
    }

    [Fact]
    public async Task AddEtcd_WithUnknownKey_SaysSo()
    {
        await using var services = Services(checks => checks.AddEtcd(serviceKey: "forgotten"));
        var exception = await Assert.ThrowsAsync<OrleansConfigurationException>(() => CheckAsync(services));
        Assert.Contains("'forgotten'", exception.Message);
    }

    [Fact]
    public void AddEtcd_GivenNameTagsAndTimeout_RegistersThem()
    {
        using var services = Services(checks => checks.AddEtcd("store", tags: ["ready", "live"], timeout: TimeSpan.FromSeconds(7)));
        var registration = Assert.Single(services.GetRequiredService<IOptions<HealthCheckServiceOptions>>().Value.Registrations);
        Assert.Equal("store", registration.Name);
        Assert.Equal(["live", "ready"], registration.Tags.Order());
        Assert.Equal(TimeSpan.FromSeconds(7), registration.Timeout);
        Assert.Equal(HealthStatus.Unhealthy, registration.FailureStatus);
    }

    private static Action<EtcdOptions> Configure(EtcdServer server) => options =>
    {
        options.Endpoints.Add(server.Endpoint.ToString());
        options.RequestTimeout = RequestTimeout;
    };

    private static async Task<HealthReportEntry> CheckAsync(IServiceProvider services, string name = "etcd")
    {
        var report = await services.GetRequiredService<HealthCheckService>().CheckHealthAsync(registration => registration.Name == name);
        return report.Entries[name];
    }

    private static async Task AssertUnhealthyAsync(IServiceProvider services, EtcdErrorCode code)
    {
        var clock = Stopwatch.StartNew();
        var entry = await CheckAsync(services);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, 2 * RequestTimeout);
        Assert.Equal(HealthStatus.Unhealthy, entry.Status);
        Assert.Equal(code.ToString(), entry.Data["error"]);
        Assert.IsType<EtcdException>(entry.Exception);
    }

    private ServiceProvider Services(Action<IHealthChecksBuilder> add, Action<EtcdOptions>? configure = null)
    {
        var services = new ServiceCollection().AddLogging().AddEtcdClient(Configure(_server));
        if (configure is not null)
            services.AddEtcdClient(configure);
        add(services.AddHealthChecks());
        return services.BuildServiceProvider();
    }
}
