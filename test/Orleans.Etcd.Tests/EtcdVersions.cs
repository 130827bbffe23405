using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests;

/// <summary>One server, shared by the tests of a class that all leave it running. Each test takes its own key prefix.</summary>
public abstract class SharedEtcd(string version) : IAsyncLifetime
{
    private int _prefixes;

    public EtcdServer Server { get; private set; } = null!;

    /// <summary>The binary, for tests that need a server of their own.</summary>
    public string BinaryPath { get; } = EtcdBinary.Find(version);

    public string NewPrefix() => $"test-{Interlocked.Increment(ref _prefixes)}/";

    public async Task InitializeAsync() => Server = await EtcdServer.StartAsync(new() { BinaryPath = BinaryPath });

    public async Task DisposeAsync() => await Server.DisposeAsync();
}

public sealed class SharedEtcd34() : SharedEtcd("3.4");

public sealed class SharedEtcd35() : SharedEtcd("3.5");
