using System.Net;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>Tests of connections use such servers all the time.</summary>
[Trait("Category", "Long")]
public class EtcdServerSecurityTests
{
    [Fact]
    public async Task ServerTls_TrustedAuthority_IsNeeded()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { Tls = EtcdTls.ServerTls });
        Assert.Equal("https", etcd.Endpoint.Scheme);
        using (var trusting = new JsonGateway(etcd.Endpoint, etcd.CaCertificateFile))
            Assert.Contains(etcd.Version, await trusting.VersionAsync());

        var unrelated = EtcdCertificates.Create(Path.Combine(etcd.DataDirectory, "unrelated"));
        using var strange = new JsonGateway(etcd.Endpoint, unrelated.CaCertificateFile);
        await Assert.ThrowsAsync<HttpRequestException>(strange.VersionAsync);
    }

    [Fact]
    public async Task MutualTls_ClientCertificateOfTheAuthority_IsNeeded()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { Tls = EtcdTls.MutualTls });
        using (var known = new JsonGateway(etcd.Endpoint, etcd.CaCertificateFile, etcd.ClientCertificateFile, etcd.ClientKeyFile))
        {
            await known.PutAsync("a", "1");
            Assert.Equal("1", await known.GetAsync("a"));
        }

        using (var without = new JsonGateway(etcd.Endpoint, etcd.CaCertificateFile))
            await Assert.ThrowsAsync<HttpRequestException>(without.VersionAsync);

        var unrelated = EtcdCertificates.Create(Path.Combine(etcd.DataDirectory, "unrelated"));
        using var stranger = new JsonGateway(etcd.Endpoint, etcd.CaCertificateFile, unrelated.ClientCertificateFile, unrelated.ClientKeyFile);
        await Assert.ThrowsAsync<HttpRequestException>(stranger.VersionAsync);
    }

    [Fact]
    public async Task Certificates_Given_AreUsedAndKept()
    {
        var directory = Directory.CreateTempSubdirectory("etcd-certificates-").FullName;
        try
        {
            var certificates = EtcdCertificates.Create(directory, "orleans", "etcd.example");
            await using (var etcd = await EtcdServer.StartAsync(new() { Tls = EtcdTls.MutualTls, Certificates = certificates }))
                Assert.Equal(certificates.CaCertificateFile, etcd.CaCertificateFile);
            Assert.True(File.Exists(certificates.ServerKeyFile));
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Theory]
    [InlineData("root")]
    [InlineData("orleans")]
    public async Task UserName_Password_IsNeededAlsoAfterRestart(string userName)
    {
        await using var etcd = await EtcdServer.StartAsync(
            new() { UserName = userName, Password = "sécret\"\\", AuthTokenTtl = TimeSpan.FromSeconds(60) });
        using var client = new JsonGateway(etcd.Endpoint);
        await client.PutAsync("a", "1", token: await client.AuthenticateAsync(userName, etcd.Password!));

        var anonymous = await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("a"));
        Assert.Contains("user name is empty", anonymous.Message);
        var wrong = await Assert.ThrowsAsync<HttpRequestException>(() => client.AuthenticateAsync(userName, "guess"));
        Assert.Equal(HttpStatusCode.BadRequest, wrong.StatusCode);

        await etcd.RestartAsync();
        Assert.Equal("1", await client.GetAsync("a", token: await client.AuthenticateAsync(userName, etcd.Password!)));
        await etcd.CompactAsync(await etcd.GetRevisionAsync());
        await etcd.DefragmentAsync();
    }

    [Fact]
    public async Task AuthTokenTtl_Passed_EndsTheToken()
    {
        await using var etcd = await EtcdServer.StartAsync(
            new() { UserName = "root", Password = "secret", AuthTokenTtl = TimeSpan.FromSeconds(1) });
        using var client = new JsonGateway(etcd.Endpoint);
        var token = await client.AuthenticateAsync("root", "secret");
        // Every use of a token prolongs its life: it can only be left alone for a while, not asked until it has expired.
        await Task.Delay(TimeSpan.FromSeconds(3));
        var expired = await Assert.ThrowsAsync<HttpRequestException>(() => client.GetAsync("a", token: token));
        Assert.Contains("invalid auth token", expired.Message);
        Assert.True(await etcd.GetRevisionAsync() > 0, "administration asks for a new token by itself");
    }

    [Fact]
    public async Task MutualTls_WithUserName_AdministrationWorks()
    {
        await using var etcd = await EtcdServer.StartAsync(
            new() { Tls = EtcdTls.MutualTls, UserName = "root", Password = "secret" });
        await etcd.CompactAsync(await etcd.GetRevisionAsync());
        await etcd.RestartAsync();
        Assert.True(await etcd.GetRevisionAsync() > 0);
    }
}
