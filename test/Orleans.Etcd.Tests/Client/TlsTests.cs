using System.Diagnostics;
using System.Net;
using System.Security.Cryptography.X509Certificates;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>A server with TLS and one that also demands a client certificate.</summary>
public sealed class TlsServers : IAsyncLifetime
{
    public EtcdServer Tls { get; private set; } = null!;

    public EtcdServer Mutual { get; private set; } = null!;

    public async Task InitializeAsync()
    {
        Tls = await EtcdServer.StartAsync(new() { Tls = EtcdTls.ServerTls });
        Mutual = await EtcdServer.StartAsync(new() { Tls = EtcdTls.MutualTls });
    }

    public async Task DisposeAsync()
    {
        await Tls.DisposeAsync();
        await Mutual.DisposeAsync();
    }
}

public sealed class TlsTests(TlsServers servers) : IClassFixture<TlsServers>
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(1);

    [Fact]
    public async Task Calls_TrustedAuthority_Succeed()
    {
        await using var etcd = servers.Tls.Connect(WithoutClientCertificate);
        await etcd.PutAsync("a", "1");
        Assert.NotNull(await etcd.GetAsync("a"));
    }

    [Fact]
    public async Task Calls_ClientCertificate_SatisfiesMutualTls()
    {
        await using var etcd = servers.Mutual.Connect();
        await etcd.PutAsync("a", "1");
        using var certificate = X509Certificate2.CreateFromPemFile(servers.Mutual.ClientCertificateFile!, servers.Mutual.ClientKeyFile);
        await using var second = servers.Mutual.Connect(options =>
        {
            WithoutClientCertificate(options);
            options.ClientCertificate = certificate;
        });
        Assert.NotNull(await second.GetAsync("a"));
    }

    /// <summary>etcd knows the root alone.</summary>
    [Fact]
    public async Task Calls_ClientCertificateOfAnAuthorityInBetween_SatisfiesMutualTls()
    {
        var directory = Path.GetDirectoryName(servers.Mutual.ClientCertificateFile)!;
        await using var etcd = servers.Mutual.Connect(options =>
            (options.ClientCertificateFile, options.ClientKeyFile) = (Path.Combine(directory, "chained-client.pem"), Path.Combine(directory, "chained-client-key.pem")));
        await etcd.PutAsync("chained", "1");
        Assert.NotNull(await etcd.GetAsync("chained"));
    }

    [Fact]
    public async Task Calls_OneMemberUnderAWrongName_GoToTheOthers()
    {
        await using var elsewhere = TcpProxy.Start(servers.Tls.Endpoint, IPAddress.Parse("127.0.0.2"));
        // A connection begins at a member drawn by chance: of so many, some begin at the wrong one.
        for (var i = 0; i < 12; i++)
        {
            await using var etcd = servers.Tls.Connect(options =>
            {
                WithoutClientCertificate(options);
                options.Endpoints.Add(elsewhere.Endpoint.ToString());
            });
            await etcd.PutAsync("a", "1");
        }

        Assert.NotEqual(0, elsewhere.Accepted);
    }

    [Fact]
    public async Task Calls_ClientCertificateMissing_SaySo()
    {
        await using var etcd = servers.Mutual.Connect(WithoutClientCertificate);
        await AssertCertificateRefusedAsync(etcd);
    }

    [Fact]
    public async Task Calls_ClientCertificateOfAStranger_SaySo()
    {
        var stranger = EtcdCertificates.Create(Path.Combine(servers.Mutual.DataDirectory, "stranger"));
        await using var etcd = servers.Mutual.Connect(options =>
            (options.ClientCertificateFile, options.ClientKeyFile) = (stranger.ClientCertificateFile, stranger.ClientKeyFile));
        await AssertCertificateRefusedAsync(etcd);
    }

    [Fact]
    public async Task Calls_AnotherAuthority_SayTls()
    {
        var unrelated = EtcdCertificates.Create(Path.Combine(servers.Tls.DataDirectory, "unrelated"));
        await using var etcd = servers.Tls.Connect(options =>
        {
            WithoutClientCertificate(options);
            options.CaCertificateFile = unrelated.CaCertificateFile;
        });
        await AssertFailsAsync(etcd, servers.Tls.Endpoint, EtcdErrorCode.TlsFailure);
    }

    [Fact]
    public async Task Calls_CertificateOfAnotherName_SayTls()
    {
        await using var proxy = TcpProxy.Start(servers.Tls.Endpoint, IPAddress.Parse("127.0.0.2"));
        await using var etcd = servers.Tls.Connect(WithoutClientCertificate, proxy.Endpoint);
        await AssertFailsAsync(etcd, proxy.Endpoint, EtcdErrorCode.TlsFailure);
    }

    [Fact]
    public async Task ServerName_MatchesTheCertificate_IsEnough()
    {
        await using var proxy = TcpProxy.Start(servers.Tls.Endpoint, IPAddress.Parse("127.0.0.2"));
        await using var etcd = servers.Tls.Connect(
            options =>
            {
                WithoutClientCertificate(options);
                options.ServerName = "localhost";
            },
            proxy.Endpoint);
        await etcd.GetAsync("a");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ServerName_WithoutMatchOrTrust_IsRefused(bool trusted)
    {
        var unrelated = EtcdCertificates.Create(Path.Combine(servers.Tls.DataDirectory, "other"));
        await using var etcd = servers.Tls.Connect(options =>
        {
            WithoutClientCertificate(options);
            options.ServerName = trusted ? "wrong.example" : "localhost";
            options.CaCertificateFile = trusted ? servers.Tls.CaCertificateFile : unrelated.CaCertificateFile;
        });
        await AssertFailsAsync(etcd, servers.Tls.Endpoint, EtcdErrorCode.TlsFailure);
    }

    [Fact]
    public async Task Calls_PlainEndpointForATlsServer_FailClearly()
    {
        var endpoint = new UriBuilder(servers.Tls.Endpoint) { Scheme = "http" }.Uri;
        await using var etcd = Connections.Connect(Timeout, endpoint);
        await AssertFailsAsync(etcd, endpoint, EtcdErrorCode.Unavailable);
    }

    [Fact]
    public async Task Calls_TlsEndpointForAPlainServer_FailClearly()
    {
        await using var server = await EtcdServer.StartAsync();
        var endpoint = new UriBuilder(server.Endpoint) { Scheme = "https" }.Uri;
        await using var etcd = Connections.Connect(Timeout, endpoint);
        // Indistinguishable from a server that ends during the handshake, which passes.
        var exception = await AssertFailsAsync(etcd, endpoint, EtcdErrorCode.Unavailable);
        Assert.Contains("speaks TLS", exception.Message);
        // Nothing was sent over a connection that was never made.
        var write = await Assert.ThrowsAsync<EtcdException>(() => etcd.PutAsync("a", "1"));
        Assert.False(write.OutcomeUnknown, write.Message);
    }

    [Theory]
    [InlineData("http://no-such-host.invalid:2379")]
    [InlineData("http://127.0.0.1:9")]
    public async Task Calls_NobodyThere_FailClearly(string endpoint)
    {
        await using var etcd = Connections.Connect(Timeout, new Uri(endpoint));
        await AssertFailsAsync(etcd, new Uri(endpoint), EtcdErrorCode.Unavailable);
    }

    private static void WithoutClientCertificate(Configuration.EtcdOptions options) =>
        (options.ClientCertificateFile, options.ClientKeyFile, options.RequestTimeout) = (null, null, Timeout);

    /// <summary>
    /// With TLS 1.3 the refusal arrives after the handshake, and the runtime may notice the closed connection before it:
    /// then the code cannot tell it from a server that went away, but the message names the reason all the same.
    /// </summary>
    private async Task AssertCertificateRefusedAsync(EtcdConnection etcd)
    {
        var since = Stopwatch.StartNew();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => etcd.GetAsync("a"));
        Assert.InRange(since.Elapsed, TimeSpan.Zero, etcd.Options.RequestTimeout * 2);
        Assert.True(exception.Code is EtcdErrorCode.TlsFailure or EtcdErrorCode.Unavailable, exception.ToString());
        Assert.Contains("client certificate", exception.Message);
        Assert.Contains(servers.Mutual.Endpoint.Authority, exception.Message);
    }

    private static async Task<EtcdException> AssertFailsAsync(EtcdConnection etcd, Uri endpoint, EtcdErrorCode code)
    {
        var since = Stopwatch.StartNew();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => etcd.GetAsync("a"));
        Assert.True(exception.Code == code, $"{exception.Code}: {exception}");
        Assert.InRange(since.Elapsed, TimeSpan.Zero, etcd.Options.RequestTimeout * 2);
        Assert.Contains(endpoint.Authority, exception.Message);
        var write = await Assert.ThrowsAsync<EtcdException>(() => etcd.PutAsync("a", "1"));
        Assert.Equal(code, write.Code);
        return exception;
    }
}
