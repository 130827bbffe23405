using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Leases such as sessions and silos have, all renewed by one process, which in production has one or two of them.</summary>
internal sealed class GrowingSessions(EtcdConnection etcd) : IGrowing
{
    private const int AtOnce = 64;
    // That of a lock session, by default.
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(15);

    private readonly List<EtcdLease> _leases = [];

    public IReadOnlyList<Contender> Operations => [new("grant + revoke of one more", GrantAndRevokeAsync)];

    public static async Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken)
    {
        var growing = new GrowingSessions(BenchmarkEtcd.Connect(server));
        await growing.GrantAndRevokeAsync();
        return growing;
    }

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        foreach (var numbers in Enumerable.Range(0, count).Chunk(AtOnce))
            _leases.AddRange(await Task.WhenAll(numbers.Select(_ => etcd.Leases.GrantAsync(Ttl, cancellationToken))));
    }

    public async ValueTask DisposeAsync()
    {
        var lost = _leases.Count(lease => lease.HasEnded);
        await etcd.DisposeAsync();
        if (lost > 0)
            throw new InvalidOperationException($"{lost} of {_leases.Count} leases were lost while they were renewed.");
    }

    private async Task GrantAndRevokeAsync()
    {
        var lease = await etcd.Leases.GrantAsync(Ttl, CancellationToken.None);
        await lease.RevokeAsync();
    }
}
