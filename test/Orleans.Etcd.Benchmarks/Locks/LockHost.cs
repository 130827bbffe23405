using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A silo and a client of it, with our locks and default options, both in this process and each with its own connections.</summary>
internal sealed class LockHost : IAsyncDisposable
{
    private readonly IHost _silo;
    private readonly IHost _client;

    private LockHost(Uri etcd)
    {
        var id = $"locks-{Guid.NewGuid():N}";
        _silo = BenchmarkHost.Silo(id, silo => silo.UseEtcdClustering(etcd.ToString()).AddEtcdLocks());
        _client = BenchmarkHost.Client(id, client => client.UseEtcdClustering(etcd.ToString()).AddEtcdLocks());
        Silo = Peer("silo", _silo);
        Client = Peer("client", _client);
    }

    /// <summary>The locks as the silo's own code has them.</summary>
    public LockPeer Silo { get; }

    /// <summary>The locks of a client, which asks the silo over a socket.</summary>
    public LockPeer Client { get; }

    public static async Task<LockHost> StartAsync(Uri etcd, CancellationToken cancellationToken)
    {
        var host = new LockHost(etcd);
        try
        {
            await host._silo.StartAsync(cancellationToken);
            await host._client.StartAsync(cancellationToken);
            return host;
        }
        catch
        {
            await host.DisposeAsync();
            throw;
        }
    }

    /// <summary>A grain on the silo that acquires and releases a lock each time that it is called, which itself takes some 2 µs.</summary>
    public Contender Grain(Func<string> name)
    {
        var grain = _silo.Services.GetRequiredService<IGrainFactory>().GetGrain<ILockCycleGrain>(0);
        return new Contender("grain", () => grain.Cycle(name()));
    }

    /// <summary>An empty grain call from within the silo.</summary>
    public Task SiloCall() => Call(_silo);

    /// <summary>An empty grain call of the client's.</summary>
    public Task ClientCall() => Call(_client);

    public async ValueTask DisposeAsync()
    {
        await ((IAsyncDisposable)_client).DisposeAsync();
        await ((IAsyncDisposable)_silo).DisposeAsync();
    }

    private static Task Call(IHost host) => host.Services.GetRequiredService<IGrainFactory>().GetGrain<IEmptyGrain>(0).Nothing();

    private static LockPeer Peer(string name, IHost host) => new(name, () =>
    {
        var locks = host.Services.GetRequiredService<ILocks>();
        return Task.FromResult<Acquire>(async key => await locks.GetLock(key).AcquireAsync());
    });
}
