using System.Diagnostics;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>Users and passwords, and tokens that end before their connection does.</summary>
public sealed class AuthenticationTests
{
    private const string Password = "hunter2";

    [Theory]
    [InlineData("3.4")]
    [InlineData("3.5")]
    public async Task Calls_TokenExpiredOrForgotten_Succeed(string version)
    {
        await using var server = await EtcdServer.StartAsync(new()
        {
            BinaryPath = EtcdBinary.Find(version),
            UserName = "root",
            Password = Password,
            AuthTokenTtl = TimeSpan.FromSeconds(1),
        });
        await using var etcd = server.Connect();
        await PutManyAsync(etcd);
        // Every use prolongs a token: it has to be left alone until it has expired.
        await Task.Delay(TimeSpan.FromSeconds(3));
        await PutManyAsync(etcd);
        // A restarted server knows no token.
        await server.RestartAsync();
        await PutManyAsync(etcd);
        Assert.Equal(3, (await etcd.GetAsync("a/7"))!.Version);
    }

    [Fact]
    public async Task Call_MemberSilentAndTokenExpired_SucceedsElsewhere()
    {
        var timeout = TimeSpan.FromSeconds(2);
        await using var server = await EtcdServer.StartAsync(new() { UserName = "root", Password = Password, AuthTokenTtl = TimeSpan.FromSeconds(1) });
        await using var one = TcpProxy.Start(server.Endpoint);
        await using var two = TcpProxy.Start(server.Endpoint);
        await using var etcd = server.Connect(options =>
        {
            options.Endpoints = [one.Endpoint.ToString(), two.Endpoint.ToString()];
            options.RequestTimeout = timeout;
        });
        await etcd.PutAsync("a", "1");
        await Task.Delay(TimeSpan.FromSeconds(3));
        (one.Accepted > 0 ? one : two).Stall();
        var since = Stopwatch.StartNew();
        Assert.NotNull(await etcd.GetAsync("a"));
        // The first member was asked, and given up.
        Assert.InRange(since.Elapsed, timeout * 0.2, timeout * 2);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Call_NoAnswerToTheLogin_EndsWithinTwiceTheTimeout(bool loggedIn)
    {
        var timeout = TimeSpan.FromSeconds(2);
        await using var server = await EtcdServer.StartAsync(new() { UserName = "root", Password = Password });
        await using var one = TcpProxy.Start(server.Endpoint);
        await using var two = TcpProxy.Start(server.Endpoint);
        await using var etcd = server.Connect(options =>
        {
            options.Endpoints = [one.Endpoint.ToString(), two.Endpoint.ToString()];
            options.RequestTimeout = timeout;
        });
        if (loggedIn)
            await etcd.PutAsync("a", "1");
        one.Stall();
        two.Stall();
        var since = Stopwatch.StartNew();
        var failure = await Assert.ThrowsAsync<EtcdException>(() => etcd.GetAsync("a"));
        Assert.Equal(EtcdErrorCode.Timeout, failure.Code);
        // Half a second for a busy machine to notice.
        Assert.InRange(since.Elapsed, TimeSpan.Zero, (2 * timeout) + TimeSpan.FromMilliseconds(500));
    }

    /// <summary>The etcd of these tests renews without; later ones do not.</summary>
    [Fact]
    public async Task Renewals_CarryTheToken_AndGoWithoutOneWhereItCannotBeHadSoon()
    {
        await using var server = await EtcdServer.StartAsync(new() { UserName = "root", Password = Password });
        await using var etcd = server.Connect();
        await etcd.PutAsync("a", "1");
        using (var stream = await etcd.OpenRenewalsAsync(avoided: null, CancellationToken.None))
            Assert.NotNull(stream.Token);
        await using var proxy = TcpProxy.Start(server.Endpoint);
        await using var silent = server.Connect(through: proxy.Endpoint);
        proxy.Stall();
        var since = Stopwatch.StartNew();
        using (var stream = await silent.OpenRenewalsAsync(avoided: null, CancellationToken.None))
            Assert.Null(stream.Token);
        Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(1.5));
    }

    [Fact]
    public async Task Calls_PasswordWrong_SayWhatToDoAndNotThePassword()
    {
        await using var server = await EtcdServer.StartAsync(new() { UserName = "root", Password = Password });
        await using var etcd = server.Connect(options => options.Password = "guess-42");
        await AssertRefusedAsync(etcd, server.Endpoint);
    }

    [Fact]
    public async Task Calls_NoneGiven_SayWhatToDo()
    {
        await using var server = await EtcdServer.StartAsync(new() { UserName = "root", Password = Password });
        await using var etcd = server.Connect(options => options.UserName = options.Password = null);
        await AssertRefusedAsync(etcd, server.Endpoint);
    }

    [Fact]
    public async Task Calls_GivenAndNotEnabled_SayWhatToDoAndNotThePassword()
    {
        await using var server = await EtcdServer.StartAsync();
        await using var etcd = server.Connect(options => (options.UserName, options.Password) = ("root", "guess-42"));
        await AssertRefusedAsync(etcd, server.Endpoint);
    }

    private static async Task AssertRefusedAsync(EtcdConnection etcd, Uri endpoint)
    {
        var exceptions = new[]
        {
            await Assert.ThrowsAsync<EtcdException>(() => etcd.GetAsync("a")),
            await Assert.ThrowsAsync<EtcdException>(() => etcd.PutAsync("a", "1")),
        };
        foreach (var exception in exceptions)
        {
            Assert.Equal(EtcdErrorCode.AuthenticationFailed, exception.Code);
            Assert.False(exception.OutcomeUnknown);
            Assert.False(exception.IsTransient);
            Assert.Contains(endpoint.Authority, exception.Message);
            Assert.Contains("UserName and Password", exception.Message);
            Assert.DoesNotContain("guess-42", exception.ToString());
        }
    }

    private static Task PutManyAsync(EtcdConnection etcd) =>
        Task.WhenAll(Enumerable.Range(0, 20).Select(i => etcd.PutAsync($"a/{i}", "1")));
}
