using Medallion.Threading.Postgres;
using Medallion.Threading.Redis;
using Orleans.Etcd.Testing;
using StackExchange.Redis;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What others have for locks, on servers of our own: those of them that the machine has.</summary>
internal sealed class LockPeers : IAsyncDisposable
{
    // PostgreSQL has a process for each connection, and a wait takes a connection.
    private const int MostConnections = 100;

    private readonly List<IAsyncDisposable> _servers = [];
    private readonly List<LockPeer> _all = [];

    public IReadOnlyList<LockPeer> All => _all;

    /// <summary>That of Go's etcd client, which is always there.</summary>
    public LockPeer Go => _all[0];

    public static async Task<LockPeers> StartAsync(BareEtcd bare, Report report, CancellationToken cancellationToken)
    {
        var peers = new LockPeers();
        try
        {
            var watches = peers.Keep(new GoWatches(bare));
            peers._all.Add(GoSession.Peer(bare, watches));
            if (RedisServer.Binary is { } redis)
            {
                await peers.AddRedisAsync("DistributedLock.Redis, no fsync", redis, appendOnly: false, cancellationToken);
                await peers.AddRedisAsync("DistributedLock.Redis, AOF", redis, appendOnly: true, cancellationToken);
            }
            else
            {
                report.Note(RedisServer.Missing);
            }

            if (PostgresServer.Binaries is { } postgres)
                await peers.AddPostgresAsync(postgres, report, cancellationToken);
            else
                report.Note(PostgresServer.Missing);
            return peers;
        }
        catch
        {
            await peers.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var server in Enumerable.Reverse(_servers))
            await server.DisposeAsync();
    }

    private async Task AddRedisAsync(string name, string binary, bool appendOnly, CancellationToken cancellationToken)
    {
        var server = Keep(await RedisServer.StartAsync(binary, appendOnly, cancellationToken));
        var database = Keep(await ConnectionMultiplexer.ConnectAsync(server.Address)).GetDatabase();
        _all.Add(new LockPeer(name, () => Task.FromResult<Acquire>(async key => await new RedisDistributedLock(key, database).AcquireAsync())));
    }

    private async Task AddPostgresAsync(string binaries, Report report, CancellationToken cancellationToken)
    {
        try
        {
            var server = Keep(await PostgresServer.StartAsync(binaries, cancellationToken));
            _all.Add(new LockPeer("DistributedLock.Postgres", () => Task.FromResult<Acquire>(async key =>
                await new PostgresDistributedLock(new PostgresAdvisoryLockKey(key, allowHashing: true), server.ConnectionString).AcquireAsync()))
            {
                MostWaiting = MostConnections,
            });
        }
        catch (Exception exception) when (exception is PostgresServerException or EtcdServerException)
        {
            report.Note($"PostgreSQL is left out: {exception.Message}");
        }
    }

    private T Keep<T>(T server)
        where T : IAsyncDisposable
    {
        _servers.Add(server);
        return server;
    }
}
