using System.Diagnostics;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class HealthCheckOutageTests : IAsyncLifetime
{
    private EtcdServer _server = null!;

    public async Task InitializeAsync() => _server = await EtcdServer.StartAsync();

    public async Task DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public async Task AddEtcd_StoppedAndStartedAgain_IsUnhealthyAndRecovers()
    {
        await using var services = HealthChecks.For(_server, checks => checks.AddEtcd());
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services)).Status);

        await _server.StopAsync();
        await AssertUnhealthyAsync(services, EtcdErrorCode.Unavailable);

        await _server.RestartAsync();
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services)).Status);
    }

    [Fact]
    public async Task AddEtcd_PausedAndResumed_IsUnhealthyAndRecovers()
    {
        await using var services = HealthChecks.For(_server, checks => checks.AddEtcd());
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services)).Status);

        _server.Pause();
        await AssertUnhealthyAsync(services, EtcdErrorCode.Timeout);

        _server.Resume();
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services)).Status);
    }

    [Fact]
    public async Task AddEtcd_WithTimeout_EndsEarlier()
    {
        await using var services = HealthChecks.For(_server, checks => checks.AddEtcd(timeout: TimeSpan.FromMilliseconds(200)), options => options.RequestTimeout = TimeSpan.FromMinutes(5));
        _server.Pause();
        var clock = Stopwatch.StartNew();
        Assert.Equal(HealthStatus.Unhealthy, (await HealthChecks.RunAsync(services)).Status);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task AddEtcd_WithFailureStatus_ReportsIt()
    {
        await using var services = HealthChecks.For(_server, checks => checks.AddEtcd(failureStatus: HealthStatus.Degraded));
        await _server.StopAsync();
        Assert.Equal(HealthStatus.Degraded, (await HealthChecks.RunAsync(services)).Status);
    }

    private static async Task AssertUnhealthyAsync(IServiceProvider services, EtcdErrorCode code)
    {
        var clock = Stopwatch.StartNew();
        var entry = await HealthChecks.RunAsync(services);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, 2 * HealthChecks.RequestTimeout);
        Assert.Equal(HealthStatus.Unhealthy, entry.Status);
        Assert.Equal(code.ToString(), entry.Data["error"]);
        Assert.IsType<EtcdException>(entry.Exception);
    }
}
