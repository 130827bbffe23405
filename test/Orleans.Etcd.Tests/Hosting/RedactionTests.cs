using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>A password, right or wrong, stays out of everything that is logged or thrown.</summary>
public sealed class RedactionTests : IAsyncLifetime
{
    private const string Password = "correct-horse-9f2b";
    private const string Wrong = "wrong-donkey-7c1d";

    private readonly RecordedLog _log = new();
    private EtcdServer _server = null!;

    public async Task InitializeAsync() => _server = await EtcdServer.StartAsync(new() { UserName = "orleans", Password = Password });

    public async Task DisposeAsync() => await _server.DisposeAsync();

    [Fact]
    public async Task Silo_StartedWithPassword_LogsItsOptionsWithoutIt()
    {
        using var host = Hosts.Silo(silo => silo.UseEtcdClustering(With(Password)), _log);
        await host.StartAsync();
        await host.StopAsync();
        AssertLogged("EtcdOptions:");
    }

    [Fact]
    public async Task Silo_StartedWithPasswordOfAKey_LogsItsOptionsWithoutIt()
    {
        using var host = Hosts.Silo(
            silo =>
            {
                silo.Services.AddKeyedEtcdClient("mine", With(Password));
                silo.UseKeyedEtcdClustering("mine");
            },
            _log);
        await host.StartAsync();
        await host.StopAsync();
        AssertLogged("EtcdOptions-mine:");
    }

    [Fact]
    public async Task Client_StartedWithPassword_LogsItsOptionsWithoutIt()
    {
        var id = Hosts.NewId();
        using var silo = Hosts.Silo(silo => silo.UseEtcdClustering(With(Password)).WithId(id));
        using var host = Hosts.Client(client => client.UseEtcdClustering(With(Password)).WithId(id), _log);
        await silo.StartAsync();
        await host.StartAsync();
        await host.StopAsync();
        await silo.StopAsync();
        AssertLogged("EtcdOptions:");
    }

    [Fact]
    public async Task Client_StartedWithWrongPassword_FailsWithoutRepeatingIt()
    {
        using var host = Hosts.Client(client => client.UseEtcdClustering(With(Wrong)), _log);
        var exception = await Assert.ThrowsAsync<EtcdException>(() => host.StartAsync());
        Assert.Equal(EtcdErrorCode.AuthenticationFailed, exception.Code);
        Assert.DoesNotContain(Wrong, exception.ToString());
        Assert.NotEmpty(_log.Lines);
        AssertKept();
    }

    private Action<EtcdOptions> With(string password) => options =>
    {
        _server.Configure(options);
        options.Password = password;
    };

    private void AssertLogged(string name)
    {
        Assert.Contains(_log.Lines, line => line.Contains(name, StringComparison.Ordinal)
            && line.Contains(_server.Endpoint.ToString(), StringComparison.Ordinal)
            && line.Contains("UserName: orleans", StringComparison.Ordinal));
        AssertKept();
    }

    private void AssertKept() =>
        Assert.DoesNotContain(_log.Lines, line => line.Contains(Password, StringComparison.Ordinal) || line.Contains(Wrong, StringComparison.Ordinal));
}
