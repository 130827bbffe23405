using System.Net;
using System.Net.Sockets;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Testing;

public class EtcdServerTests
{
    [Fact]
    public async Task StartAsync_Default_AnswersOnLoopbackWithItsVersion()
    {
        await using var etcd = await EtcdServer.StartAsync();
        using var client = new JsonGateway(etcd.Endpoint);

        Assert.Equal("http", etcd.Endpoint.Scheme);
        Assert.Equal("127.0.0.1", etcd.Endpoint.Host);
        Assert.Contains($"\"etcdserver\":\"{etcd.Version}\"", await client.VersionAsync());
        Assert.True(etcd.IsRunning);
        Assert.True(OperatingSystemProcess.Exists(etcd.ProcessId));
        Assert.True(new FileInfo(etcd.LogFile).Length > 0);
    }

    [Fact]
    public async Task StartAsync_SeveralAtOnce_DoNotDisturbEachOther()
    {
        var servers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => EtcdServer.StartAsync()));
        try
        {
            Assert.Equal(4, servers.Select(server => server.Endpoint.Port).Distinct().Count());
            foreach (var server in servers) Assert.Equal(1, await server.GetRevisionAsync());
        }
        finally
        {
            foreach (var server in servers) await server.DisposeAsync();
        }
    }

    [Fact]
    public async Task RestartAsync_AfterStop_KeepsDataAndPorts()
    {
        await using var etcd = await EtcdServer.StartAsync();
        var (endpoint, process) = (etcd.Endpoint, etcd.ProcessId);
        await PutAsync(etcd, "a", "1");

        await etcd.StopAsync();
        Assert.False(etcd.IsRunning);
        Assert.False(OperatingSystemProcess.Exists(process));
        Assert.Throws<InvalidOperationException>(() => etcd.ProcessId);

        await etcd.RestartAsync();
        Assert.Equal(endpoint, etcd.Endpoint);
        Assert.NotEqual(process, etcd.ProcessId);
        Assert.Equal("1", await GetAsync(etcd, "a"));
    }

    [Fact]
    public async Task RestartAsync_AfterKill_KeepsData()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await PutAsync(etcd, "a", "1");
        await etcd.KillAsync();
        Assert.False(etcd.IsRunning);
        await etcd.RestartAsync();
        Assert.Equal("1", await GetAsync(etcd, "a"));
    }

    [Fact]
    public async Task RestartAsync_PortTakenMeanwhile_WaitsForIt()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await etcd.StopAsync();
        using var other = new TcpListener(IPAddress.Loopback, etcd.Endpoint.Port);
        other.Start();
        var restart = etcd.RestartAsync();
        await Eventually.IsTrueAsync(
            () => File.ReadAllText(etcd.LogFile).Contains("address already in use", StringComparison.Ordinal), "etcd met the taken port");
        Assert.False(restart.IsCompleted);
        other.Stop();
        await restart;
        Assert.Equal(1, await etcd.GetRevisionAsync());
    }

    [Fact]
    public async Task Pause_Request_HangsUntilResume()
    {
        await using var etcd = await EtcdServer.StartAsync();
        using var client = new JsonGateway(etcd.Endpoint);
        await client.PutAsync("a", "1");

        etcd.Pause();
        Assert.True(etcd.IsRunning);
        Assert.True(etcd.IsPaused);
        using (var limit = new CancellationTokenSource(TimeSpan.FromMilliseconds(300)))
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => client.GetAsync("a", cancellationToken: limit.Token));

        var pending = client.GetAsync("a");
        etcd.Resume();
        Assert.False(etcd.IsPaused);
        Assert.Equal("1", await pending);
    }

    [Fact]
    public async Task StopAsync_Paused_EndsGracefully()
    {
        await using var etcd = await EtcdServer.StartAsync();
        etcd.Pause();
        await etcd.StopAsync();
        Assert.False(etcd.IsRunning);
        Assert.False(etcd.IsPaused);
    }

    [Fact]
    public async Task AutoStart_False_ListensOnlyAfterRestart()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { AutoStart = false });
        using var client = new JsonGateway(etcd.Endpoint);
        Assert.False(etcd.IsRunning);
        await Assert.ThrowsAsync<HttpRequestException>(client.VersionAsync);
        await etcd.RestartAsync();
        Assert.Contains(etcd.Version, await client.VersionAsync());
    }

    [Fact]
    public async Task CompactAsync_OldRevision_IsRefusedTheSecondTime()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await PutAsync(etcd, "a", "1");
        await PutAsync(etcd, "a", "2");
        Assert.Equal(3, await etcd.GetRevisionAsync());
        await etcd.CompactAsync(3);
        await etcd.DefragmentAsync();
        var exception = await Assert.ThrowsAsync<EtcdServerException>(() => etcd.CompactAsync(2));
        Assert.Contains("compacted", exception.Message);
        Assert.Contains("etcd_server_has_leader 1", await etcd.GetMetricsAsync());
    }

    [Fact]
    public async Task ExtraArguments_Unknown_FailsWithTheLog()
    {
        var options = new EtcdServerOptions { ExtraArguments = { "--no-such-flag" } };
        var exception = await Assert.ThrowsAsync<EtcdServerException>(() => EtcdServer.StartAsync(options));
        Assert.Contains("no-such-flag", exception.Message);
    }

    [Fact]
    public async Task Options_Invalid_AreReportedTogether()
    {
        var options = new EtcdServerOptions { UserName = "root", StartTimeout = TimeSpan.Zero, AuthTokenTtl = TimeSpan.FromMilliseconds(5) };
        var exception = await Assert.ThrowsAsync<ArgumentException>(() => EtcdServer.StartAsync(options));
        Assert.Contains(nameof(EtcdServerOptions.Password), exception.Message);
        Assert.Contains(nameof(EtcdServerOptions.StartTimeout), exception.Message);
        Assert.Contains(nameof(EtcdServerOptions.AuthTokenTtl), exception.Message);
    }

    private static async Task PutAsync(EtcdServer etcd, string key, string value)
    {
        using var client = new JsonGateway(etcd.Endpoint);
        await client.PutAsync(key, value);
    }

    private static async Task<string?> GetAsync(EtcdServer etcd, string key)
    {
        using var client = new JsonGateway(etcd.Endpoint);
        return await client.GetAsync(key);
    }
}
