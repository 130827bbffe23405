using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Locks that one silo holds, each another; its process also has the grains through which it acquired them.</summary>
internal sealed class GrowingLocks(LockHost host) : IGrowing
{
    private const int AtOnce = 100;

    private readonly List<IAsyncDisposable> _held = [];

    public IReadOnlyList<Contender> Operations => [host.Grain(static () => "one more") with { Name = "acquire + release of one more" }];

    public static async Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken)
    {
        var growing = new GrowingLocks(await LockHost.StartAsync(server.Endpoint, cancellationToken));
        // The session is there before the first of them is counted.
        await growing.Operations[0].Operation();
        return growing;
    }

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        var acquire = await host.Silo.OpenAsync();
        foreach (var numbers in Enumerable.Range(0, count).Chunk(AtOnce))
        {
            cancellationToken.ThrowIfCancellationRequested();
            _held.AddRange(await Task.WhenAll(numbers.Select(number => acquire($"held {number}"))));
        }
    }

    /// <summary>They end with the session of the silo.</summary>
    public ValueTask DisposeAsync() => host.DisposeAsync();
}
