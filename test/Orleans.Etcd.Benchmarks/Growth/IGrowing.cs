using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Things of one kind, of which there may be many, in an etcd of their own.</summary>
internal interface IGrowing : IAsyncDisposable
{
    /// <summary>Makes so many of them, which stay until this is disposed.</summary>
    Task FillAsync(int count, CancellationToken cancellationToken);

    /// <summary>What is done once they are there; whether it becomes slower the more there are is the question.</summary>
    IReadOnlyList<Contender> Operations { get; }
}

/// <param name="Name">What they are, in the plural.</param>
/// <param name="StartAsync">Starts what they need, before any is there.</param>
internal sealed record GrowthKind(string Name, Func<EtcdServer, BareEtcd, CancellationToken, Task<IGrowing>> StartAsync)
{
    public static IReadOnlyList<GrowthKind> All { get; } =
    [
        new("silos", GrowingSilos.StartAsync),
        new("held locks", GrowingLocks.StartAsync),
        new("config namespaces", GrowingNamespaces.StartAsync),
        new("watches", GrowingWatches.StartAsync),
        new("sessions", GrowingSessions.StartAsync),
    ];
}
