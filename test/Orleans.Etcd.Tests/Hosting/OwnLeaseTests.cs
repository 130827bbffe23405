using System.Collections.Concurrent;
using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>What a silo shows of its own lease, and what becomes of that when somebody takes it away.</summary>
public sealed class OwnLeaseTests : IAsyncLifetime
{
    private readonly string _id = Hosts.NewId();
    private EtcdServer _server = null!;
    private EtcdConnection _etcd = null!;
    private IHost _host = null!;

    public async Task InitializeAsync()
    {
        _server = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        _etcd = _server.Connect();
        _host = Hosts.Silo(silo =>
        {
            silo.UseEtcdClustering(_server.Endpoint.ToString()).WithId(_id);
            silo.Services.AddHealthChecks().AddEtcd();
        });
        await _host.StartAsync();
    }

    public async Task DisposeAsync()
    {
        await ((IAsyncDisposable)_host).DisposeAsync();
        await _etcd.DisposeAsync();
        await _server.DisposeAsync();
    }

    [Fact]
    public async Task Lease_ThatCannotBeMade_MakesTheSiloDegraded_UntilItCan()
    {
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(_host.Services)).Status);
        using var gateway = new JsonGateway(_server.Endpoint);
        // Out of space, etcd answers reads and grants nothing.
        await gateway.SetNoSpaceAsync(true);
        await RevokeAsync();
        HealthReportEntry entry = default;
        await Eventually.IsTrueAsync(async () => (entry = await HealthChecks.RunAsync(_host.Services)).Status == HealthStatus.Degraded, "the silo is degraded");
        Assert.Contains("liveness lease", entry.Description);
        Assert.Equal(0, Observe("orleans.etcd.liveness.lease.remaining"));
        Assert.Equal(0, Observe("orleans.etcd.liveness.lease.age"));
        await gateway.SetNoSpaceAsync(false);
        await Eventually.IsTrueAsync(async () => (await HealthChecks.RunAsync(_host.Services)).Status == HealthStatus.Healthy, "the silo is healthy again");
        Assert.NotEqual(0, await LeaseAsync());
    }

    [Theory]
    [InlineData("revoke")]
    [InlineData("delete")]
    [InlineData("overwrite")]
    public async Task Lease_TakenAway_IsMadeAgain(string how)
    {
        var before = await LeaseAsync();
        Assert.NotEqual(0, before);
        if (how == "revoke")
            await RevokeAsync();
        else if (how == "delete")
            await _etcd.DeleteAsync(Key());
        else
            await _etcd.PutAsync(Key(), "mine now");
        // A lease that lives takes the key back; one that does not has to be made anew.
        await Eventually.IsTrueAsync(async () => await LeaseAsync() is var after && after != 0 && (how != "revoke" || after != before), "the key is there again");
    }

    [Fact]
    public async Task Key_TakenAwayAgainAndAgain_IsSoonThereAgain_OnTheSameLease()
    {
        var before = await LeaseAsync();
        for (var time = 0; time < 5; time++)
        {
            await _etcd.DeleteAsync(Key());
            var since = Stopwatch.StartNew();
            while (await LeaseAsync() == 0)
                await Task.Delay(5);
            Assert.InRange(since.Elapsed, TimeSpan.Zero, ProcessWatch.Grace);
            Assert.Equal(before, await LeaseAsync());
        }
    }

    [Fact]
    public async Task Key_TakenAwayWhileEtcdTakesNoPuts_IsThereAgainAfterwards_OnTheSameLease()
    {
        var before = await LeaseAsync();
        using var gateway = new JsonGateway(_server.Endpoint);
        await gateway.SetNoSpaceAsync(true);
        await _etcd.DeleteAsync(Key());
        await Task.Delay(500);
        Assert.Equal(0, await LeaseAsync());
        await gateway.SetNoSpaceAsync(false);
        await Eventually.IsTrueAsync(async () => await LeaseAsync() == before, "the key is there again");
    }

    [Fact]
    public async Task Gauges_TellOfTheLease()
    {
        await Task.Delay(300);
        Assert.InRange(Observe("orleans.etcd.liveness.lease.age"), 0.3, 60);
        var ttl = new EtcdLivenessOptions().LeaseTtl.TotalSeconds;
        Assert.InRange(Observe("orleans.etcd.liveness.lease.remaining"), ttl / 3, ttl);
    }

    [Fact]
    public async Task SiloThatLeaves_GivesTheLeaseBack()
    {
        var lease = await LeaseAsync();
        await _host.StopAsync();
        Assert.Null(await _etcd.GetAsync(Key()));
        await Assert.ThrowsAsync<EtcdException>(() => _etcd.PutAsync("other", "", lease));
        Assert.Equal(HealthStatus.Healthy, (await HealthChecks.RunAsync(_host.Services)).Status);
    }

    private string Key()
    {
        var silo = _host.Services.GetRequiredService<ILocalSiloDetails>().SiloAddress;
        return $"orleans/{_id}/{_id}/liveness/{silo.ToParsableString()}";
    }

    private async Task<long> LeaseAsync() => (await _etcd.GetAsync(Key()))?.Lease ?? 0;

    private async Task RevokeAsync() => await _etcd.RevokeAsync(await LeaseAsync(), CancellationToken.None);

    /// <summary>This silo's value of a gauge; other tests have silos of their own.</summary>
    private double Observe(string gauge)
    {
        var values = new ConcurrentQueue<double>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, me) =>
        {
            if (instrument.Name == gauge)
                me.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<double>((_, value, tags, _) =>
        {
            if (tags.Length == 1 && tags[0] is { Key: "key", Value: string key } && key == Key())
                values.Enqueue(value);
        });
        listener.Start();
        listener.RecordObservableInstruments();
        return Assert.Single(values);
    }
}
