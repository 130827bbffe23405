using System.Diagnostics;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Silo;
using Xunit;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>An etcd that cannot be used ends a silo with a clear error, in bounded time, and nothing is written.</summary>
/// <remarks>In processes of their own: Orleans 10.4.2 leaves a loop of its grain directory spinning where a silo's start failed.</remarks>
public sealed class UnusableEtcdTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(60);

    [Theory]
    [InlineData("http://etcd.invalid:2379")]
    [InlineData("http://127.0.0.1:1")]
    public async Task NobodyThere_IsSaidOnceTheTimeToJoinIsOver(string endpoint)
    {
        var join = TimeSpan.FromSeconds(4);
        var (output, took) = await FailAsync(new() { Endpoints = { endpoint } }, join);
        Assert.Contains($"failed at {endpoint}: ", output);
        Assert.Contains("Check that etcd runs", output);
        // Waited for, since etcd may be started after the silo; and not for ever.
        Assert.InRange(took, join / 2, join + TimeSpan.FromSeconds(20));
    }

    [Fact]
    public Task Password_WhereAuthenticationIsOff_FailsAtOnce() =>
        FailsAtOnceAsync(etcd.Server, options => (options.UserName, options.Password) = ("root", "hunter2"), "authentication is enabled in etcd exactly when");

    [Fact]
    public async Task WrongPassword_FailsAtOnce()
    {
        await using var server = await StartAsync(EtcdTls.None, "orleans");
        var output = await FailsAtOnceAsync(server, options => options.Password = "hunter2", "Check UserName and Password");
        Assert.Contains("UserName: orleans", output);
        Assert.Contains("Password: ", output);
    }

    [Fact]
    public async Task NoPassword_FailsAtOnce()
    {
        await using var server = await StartAsync(EtcdTls.None, "orleans");
        await FailsAtOnceAsync(server, options => options.UserName = options.Password = null, "Check UserName and Password");
    }

    [Fact]
    public async Task WrongCertificateAuthority_FailsAtOnce()
    {
        await using var server = await StartAsync(EtcdTls.ServerTls);
        await using var other = await StartAsync(EtcdTls.ServerTls);
        await FailsAtOnceAsync(server, options => options.CaCertificateFile = other.CaCertificateFile, "Check CaCertificateFile");
    }

    [Fact]
    public async Task WrongServerName_FailsAtOnce()
    {
        await using var server = await StartAsync(EtcdTls.ServerTls);
        await FailsAtOnceAsync(server, options => options.ServerName = "etcd.example", "Check CaCertificateFile, ServerName");
    }

    private Task<EtcdServer> StartAsync(EtcdTls tls, string? user = null) =>
        EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath, Tls = tls, UserName = user, Password = user is null ? null : "secret-9f2b" });

    private static async Task<string> FailsAtOnceAsync(EtcdServer server, Action<EtcdOptions> spoil, string advice)
    {
        var before = await server.GetRevisionAsync();
        var options = server.Options();
        spoil(options);
        var join = TimeSpan.FromMinutes(1);
        var (output, took) = await FailAsync(options, join);
        Assert.Contains($"failed at {server.Endpoint.ToString().TrimEnd('/')}: ", output);
        Assert.Contains(advice, output);
        Assert.InRange(took, TimeSpan.Zero, join / 2);
        Assert.Equal(before, await server.GetRevisionAsync());
        // Everything is logged, the options too, and no password, right or wrong.
        Assert.DoesNotContain("hunter2", output);
        Assert.DoesNotContain("secret-9f2b", output);
        return output;
    }

    private static async Task<(string Output, TimeSpan Took)> FailAsync(EtcdOptions options, TimeSpan join)
    {
        var settings = new Dictionary<string, string?>
        {
            ["ClusterId"] = "unusable",
            ["MaxJoinAttemptTime"] = $"{join}",
            ["Logging:LogLevel:Default"] = "Trace",
            [nameof(options.Endpoints)] = options.Endpoints.Single(),
            [nameof(options.RequestTimeout)] = "00:00:02",
            [nameof(options.UserName)] = options.UserName,
            [nameof(options.Password)] = options.Password,
            [nameof(options.CaCertificateFile)] = options.CaCertificateFile,
            [nameof(options.ServerName)] = options.ServerName,
        };
        var given = settings.Where(setting => setting.Value is not null).ToDictionary(setting => setting.Key, setting => setting.Value!);
        var clock = Stopwatch.StartNew();
        await using var silo = await SiloProcess.StartAsync("unusable", given, LoopbackPort.Take(), LoopbackPort.Take());
        Assert.NotEqual(0, await silo.WaitForExitAsync(Limit));
        return (silo.Output, clock.Elapsed);
    }
}
