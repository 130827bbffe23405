using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Options;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

public sealed class HealthCheckTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task AddEtcd_Running_IsHealthy()
    {
        await using var services = HealthChecks.For(etcd.Server, checks => checks.AddEtcd());
        var entry = await HealthChecks.RunAsync(services);
        Assert.Equal(HealthStatus.Healthy, entry.Status);
        Assert.Contains($":{etcd.Server.Endpoint.Port}", (string)entry.Data["endpoints"]);
    }

    [Fact]
    public async Task AddEtcd_WithKey_ChecksThatConnection()
    {
        await using var other = await EtcdServer.StartAsync();
        await using var services = HealthChecks.For(etcd.Server, checks =>
        {
            checks.Services.AddKeyedEtcdClient("other", HealthChecks.Over(other));
            checks.AddEtcd().AddEtcd("other", serviceKey: "other");
        });
        await other.StopAsync();
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services)).Status);
        Assert.Equal(HealthStatus.Unhealthy, (await HealthChecks.RunAsync(services, "other")).Status);
    }

    [Fact]
    public async Task AddEtcd_WithUnknownKey_SaysSo()
    {
        await using var services = HealthChecks.For(etcd.Server, checks => checks.AddEtcd(serviceKey: "forgotten", failureStatus: HealthStatus.Degraded).AddEtcd("used"));
        var entry = await HealthChecks.RunAsync(services);
        Assert.Equal(HealthStatus.Degraded, entry.Status);
        Assert.Contains("'forgotten'", entry.Description);
        // The others are asked all the same.
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(services, "used")).Status);
    }

    [Fact]
    public void AddEtcd_GivenNameTagsAndTimeout_RegistersThem()
    {
        using var services = HealthChecks.For(etcd.Server, checks => checks.AddEtcd("store", tags: ["ready", "live"], timeout: TimeSpan.FromSeconds(7)));
        var registration = Assert.Single(services.GetRequiredService<IOptions<HealthCheckServiceOptions>>().Value.Registrations);
        Assert.Equal("store", registration.Name);
        Assert.Equal(["live", "ready"], registration.Tags.Order());
        Assert.Equal(TimeSpan.FromSeconds(7), registration.Timeout);
        Assert.Equal(HealthStatus.Unhealthy, registration.FailureStatus);
    }
}
