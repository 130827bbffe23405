using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests;

/// <summary>One server, shared by the tests of a class that all leave it running. Each test takes its own key prefix.</summary>
public abstract class SharedEtcd(string version, EtcdTls tls = EtcdTls.None, string? user = null) : IAsyncLifetime
{
    private int _prefixes;

    public EtcdServer Server { get; private set; } = null!;

    /// <summary>The binary, for tests that need a server of their own.</summary>
    public string BinaryPath { get; } = EtcdBinary.Find(version);

    public string NewPrefix() => $"test-{Interlocked.Increment(ref _prefixes)}/";

    public async Task InitializeAsync() =>
        Server = await EtcdServer.StartAsync(new() { BinaryPath = BinaryPath, Tls = tls, UserName = user, Password = user is null ? null : "hunter2" });

    public async Task DisposeAsync() => await Server.DisposeAsync();
}

public sealed class SharedEtcd34() : SharedEtcd("3.4");

public sealed class SharedEtcd35() : SharedEtcd("3.5");

/// <summary>As in production: TLS, and a user with a password.</summary>
public sealed class SharedEtcd35Secured() : SharedEtcd("3.5", EtcdTls.ServerTls, "orleans");
