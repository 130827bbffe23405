using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Silos and a client of theirs, with our locks and default options, all in this process and each with its own connections.</summary>
internal sealed class LockHost : IAsyncDisposable
{
    private readonly IHost[] _silos;
    private readonly IHost _client;
    private int _opened;

    private LockHost(Uri etcd, int silos)
    {
        var id = $"locks-{Guid.NewGuid():N}";
        _silos = [.. Enumerable.Range(0, silos).Select(_ => BenchmarkHost.Silo(id, silo => silo.UseEtcdClustering(etcd.ToString()).AddEtcdLocks()))];
        _client = BenchmarkHost.Client(id, client => client.UseEtcdClustering(etcd.ToString()).AddEtcdLocks());
        Silo = new LockPeer("silo", () => Open(_silos[0]));
        Client = new LockPeer("client", () => Open(_client));
        IHost[] processes = [.. _silos, _client];
        Spread = new LockPeer($"{silos} silos and a client", () => Open(processes[_opened++ % processes.Length]));
    }

    /// <summary>The locks as the silo's own code has them.</summary>
    public LockPeer Silo { get; }

    /// <summary>The locks of a client, which asks the silo over a socket.</summary>
    public LockPeer Client { get; }

    /// <summary>The locks as all of them have them: whoever contends is in one after the other.</summary>
    public LockPeer Spread { get; }

    public static async Task<LockHost> StartAsync(Uri etcd, CancellationToken cancellationToken, int silos = 1)
    {
        var host = new LockHost(etcd, silos);
        try
        {
            foreach (var silo in host._silos)
                await silo.StartAsync(cancellationToken);
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
        var grain = _silos[0].Services.GetRequiredService<IGrainFactory>().GetGrain<ILockCycleGrain>(0);
        return new Contender("grain", () => grain.Cycle(name()));
    }

    /// <summary>An empty grain call from within the silo.</summary>
    public Task SiloCall() => Call(_silos[0]);

    /// <summary>An empty grain call of the client's.</summary>
    public Task ClientCall() => Call(_client);

    public async ValueTask DisposeAsync()
    {
        await ((IAsyncDisposable)_client).DisposeAsync();
        foreach (var silo in _silos)
            await ((IAsyncDisposable)silo).DisposeAsync();
    }

    private static Task Call(IHost host) => host.Services.GetRequiredService<IGrainFactory>().GetGrain<IEmptyGrain>(0).Nothing();

    private static Task<Acquire> Open(IHost host)
    {
        var locks = host.Services.GetRequiredService<ILocks>();
        return Task.FromResult<Acquire>(async key => await locks.GetLock(key).AcquireAsync());
    }
}
