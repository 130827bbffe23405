using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Hosting;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>An etcd that cannot be used ends a client's start with a clear error, in bounded time.</summary>
public sealed class UnusableEtcdForClientTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Theory]
    [InlineData("http://etcd.invalid:2379")]
    [InlineData("http://127.0.0.1:1")]
    public async Task NobodyThere_IsRetriedAndThenSaid(string endpoint)
    {
        var tries = 0;
        using var host = Client(
            options =>
            {
                options.Endpoints = [endpoint];
                options.RequestTimeout = TimeSpan.FromMilliseconds(500);
            },
            client => client.UseConnectionRetryFilter((_, _) => Task.FromResult(++tries < 3)));
        var exception = await Assert.ThrowsAsync<SiloUnavailableException>(() => host.StartAsync());
        Assert.Equal(3, tries);
        Assert.Contains(endpoint, exception.Message);
        Assert.Contains("Check that etcd runs", exception.Message);
    }

    [Fact]
    public Task Password_WhereAuthenticationIsOff_FailsAtOnce() =>
        FailsAtOnceAsync(etcd.Server, options => (options.UserName, options.Password) = ("root", "hunter2"), EtcdErrorCode.AuthenticationFailed);

    [Fact]
    public async Task WrongCertificateAuthorityOrName_FailsAtOnce()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath, Tls = EtcdTls.ServerTls });
        var other = EtcdCertificates.Create(Path.Combine(server.DataDirectory, "other"));
        await FailsAtOnceAsync(server, options => options.CaCertificateFile = other.CaCertificateFile, EtcdErrorCode.TlsFailure);
        await FailsAtOnceAsync(server, options => options.ServerName = "etcd.example", EtcdErrorCode.TlsFailure);
    }

    private static async Task FailsAtOnceAsync(EtcdServer server, Action<EtcdOptions> spoil, EtcdErrorCode code)
    {
        var timeout = TimeSpan.FromMinutes(1);
        using var host = Client(
            options =>
            {
                server.Configure(options);
                options.RequestTimeout = timeout;
                spoil(options);
            },
            client => client.UseConnectionRetryFilter((exception, _) => Task.FromResult(exception is SiloUnavailableException)));
        var clock = Stopwatch.StartNew();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => host.StartAsync());
        Assert.Equal(code, exception.Code);
        Assert.Contains(server.Endpoint.Authority, exception.Message);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, timeout / 2);
        Assert.DoesNotContain("hunter2", exception.ToString());
    }

    private static IHost Client(Action<EtcdOptions> etcd, Action<IClientBuilder> configure) => Hosts.Client(client =>
    {
        client.UseEtcdClustering(etcd);
        configure(client);
    });
}
