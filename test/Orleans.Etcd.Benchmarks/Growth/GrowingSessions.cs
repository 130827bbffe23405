using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Lock sessions, each with its lease, its key and its watch, all in one process, which in production has one.</summary>
internal sealed class GrowingSessions(EtcdConnection etcd) : IGrowing
{
    private const int AtOnce = 64;
    // The default.
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(15);

    private readonly SessionStore _store = new(etcd, "growing");
    private readonly List<LockSession> _sessions = [];

    public IReadOnlyList<Contender> Operations => [new("open + close of one more", async () => await (await OpenAsync(CancellationToken.None)).DisposeAsync())];

    public static async Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken)
    {
        var growing = new GrowingSessions(BenchmarkEtcd.Connect(server));
        await growing.Operations[0].Operation();
        return growing;
    }

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        foreach (var numbers in Enumerable.Range(0, count).Chunk(AtOnce))
            _sessions.AddRange(await Task.WhenAll(numbers.Select(_ => OpenAsync(cancellationToken))));
    }

    public async ValueTask DisposeAsync()
    {
        var lost = _sessions.Count(session => session.HasEnded);
        foreach (var some in _sessions.Chunk(AtOnce))
            await Task.WhenAll(some.Select(session => session.DisposeAsync().AsTask()));
        await etcd.DisposeAsync();
        if (lost > 0)
            throw new InvalidOperationException($"{lost} of {_sessions.Count} sessions were lost while they were renewed.");
    }

    private async Task<LockSession> OpenAsync(CancellationToken cancellationToken) =>
        new(await EtcdSessionLink.OpenAsync(_store, Ttl, "benchmark", cancellationToken), TimeProvider.System, NullLogger.Instance);
}
