using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

public sealed class EtcdOptionsValidatorTests
{
    [Theory]
    [InlineData("http://127.0.0.1:2379")]
    [InlineData("https://etcd.example")]
    [InlineData("http://[::1]:2379/")]
    public void Validate_Endpoint_IsAccepted(string endpoint) => Assert.Empty(Failures(new() { Endpoints = { endpoint } }));

    [Theory]
    [InlineData("")]
    [InlineData("127.0.0.1:2379")]
    [InlineData("ftp://a:2379")]
    [InlineData("http://")]
    [InlineData("http://a:2379/path")]
    [InlineData("http://a:2379/?q=1")]
    [InlineData("http://a:99999")]
    [InlineData("http://a\nb:2379")]
    public void Validate_BadEndpoint_IsNamed(string endpoint)
    {
        var failure = Assert.Single(Failures(new() { Endpoints = { endpoint } }));
        Assert.StartsWith("EtcdOptions.Endpoints", failure);
        Assert.DoesNotContain("\n", failure);
    }

    [Theory]
    [InlineData("http://root:hunter2@a:2379")]
    [InlineData("root:hunter2@a:2379")]
    [InlineData("ftp://root:hunter2@a:2379/x")]
    [InlineData("http//root:hunter2@a")]
    public void Validate_PasswordInTheEndpoint_IsNotRepeated(string endpoint)
    {
        var failures = Failures(new() { Endpoints = { endpoint } });
        Assert.NotEmpty(failures);
        Assert.DoesNotContain(failures, failure => failure.Contains("hunter2", StringComparison.Ordinal));
    }

    [Fact]
    public void Validate_EverythingWrong_IsReportedAtOnce()
    {
        var options = new EtcdOptions
        {
            Endpoints = { "http://a:1", "https://b:1", "nonsense" },
            KeyPrefix = "/x",
            Password = "hunter2",
            ClientCertificateFile = "missing.pem",
            CaCertificateFile = "missing-ca.pem",
            ServerName = "not a name",
            RequestTimeout = TimeSpan.FromSeconds(-1),
            ConnectTimeout = TimeSpan.Zero,
            KeepAlivePingDelay = TimeSpan.FromSeconds(1),
            KeepAlivePingTimeout = TimeSpan.FromDays(1),
            MaxReconnectBackoff = TimeSpan.Zero,
            WatchProgressInterval = Timeout.InfiniteTimeSpan,
        };
        var failures = Failures(options);
        foreach (var option in new[]
        {
            "Endpoints", "KeyPrefix", "Password", "ClientCertificateFile", "CaCertificateFile", "ServerName", "RequestTimeout",
            "ConnectTimeout", "KeepAlivePingDelay", "KeepAlivePingTimeout", "MaxReconnectBackoff", "WatchProgressInterval",
        })
        {
            Assert.Contains(failures, failure => failure.StartsWith($"EtcdOptions.{option} ", StringComparison.Ordinal));
        }

        Assert.DoesNotContain(failures, failure => failure.Contains("hunter2", StringComparison.Ordinal));
        var exception = Assert.Throws<Microsoft.Extensions.Options.OptionsValidationException>(() => new EtcdConnection(options));
        Assert.Equal(failures, exception.Failures);
    }

    [Fact]
    public void Validate_BadKeyPrefix_IsNamed()
    {
        // Not a theory: the runner itself would replace the lone surrogate.
        foreach (var prefix in new[] { "", "/a", "a/", "a\n", "\ud800", new string('a', 513) })
            Assert.StartsWith("EtcdOptions.KeyPrefix", Assert.Single(Failures(new() { Endpoints = { "http://a:1" }, KeyPrefix = prefix })));
    }

    [Fact]
    public void Validate_UserWithoutPassword_IsNamed() =>
        Assert.StartsWith("EtcdOptions.UserName", Assert.Single(Failures(new() { Endpoints = { "http://a:1" }, UserName = "root" })));

    [Fact]
    public void Validate_TlsOptionWithPlainEndpoint_IsNamed() =>
        Assert.StartsWith("EtcdOptions.ServerName", Assert.Single(Failures(new() { Endpoints = { "http://a:1" }, ServerName = "b" })));

    [Theory]
    [InlineData("http://a", "http://a:2379/")]
    [InlineData("http://a:80", "http://a:80/")]
    [InlineData("https://a:443/", "https://a:443/")]
    [InlineData("https://a", "https://a:2379/")]
    [InlineData(" http://a:1234 ", "http://a:1234/")]
    public void Endpoints_OfAConnection_HaveEtcdsPortByDefault(string given, string used)
    {
        using var etcd = new EtcdConnection(new() { Endpoints = { given } });
        Assert.Equal(new Uri(used), Assert.Single(etcd.Endpoints));
    }

    [Fact]
    public void Options_ChangedAfterwards_AreNotSeenByAConnection()
    {
        var options = new EtcdOptions { Endpoints = { "http://a:1" }, RequestTimeout = TimeSpan.FromSeconds(1) };
        using var etcd = new EtcdConnection(options);
        options.RequestTimeout = TimeSpan.FromSeconds(-1);
        options.KeyPrefix = "other";
        options.Endpoints.Clear();
        Assert.Equal((TimeSpan.FromSeconds(1), EtcdOptions.DefaultKeyPrefix, 1), (etcd.Options.RequestTimeout, etcd.Options.KeyPrefix, etcd.Options.Endpoints.Count));
    }

    private static List<string> Failures(EtcdOptions options) =>
        [.. new EtcdOptionsValidator().Validate(null, options).Failures ?? []];
}
