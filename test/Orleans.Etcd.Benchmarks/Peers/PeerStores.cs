using Microsoft.Extensions.Hosting;
using Npgsql;
using Orleans.Etcd.Testing;
using StackExchange.Redis;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Those of the stores that this machine has: what is missing is said and left out.</summary>
internal sealed class PeerStores : IAsyncDisposable
{
    private readonly List<PeerStore> _all = [];

    public IReadOnlyList<PeerStore> All => _all;

    public static async Task<PeerStores> StartAsync(Report report, CancellationToken cancellationToken)
    {
        var stores = new PeerStores();
        try
        {
            if (RedisServer.Binary is { } redis)
            {
                stores._all.Add(await RedisAsync("Redis, no fsync", redis, appendOnly: false, cancellationToken));
                stores._all.Add(await RedisAsync("Redis, AOF fsync always", redis, appendOnly: true, cancellationToken));
            }
            else
            {
                report.Note(RedisServer.Missing);
            }

            if (await TryPostgresAsync(report, cancellationToken) is { } postgres)
                stores._all.Add(postgres);
            return stores;
        }
        catch
        {
            await stores.DisposeAsync();
            throw;
        }
    }

    /// <summary>The tables of one cluster, one in each of the stores.</summary>
    public async Task<PeerTable[]> OpenAsync(string clusterId, CancellationToken cancellationToken)
    {
        var tables = new List<PeerTable>();
        foreach (var store in _all)
            tables.Add(await store.OpenAsync(clusterId, cancellationToken));
        return [.. tables];
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var store in _all)
            await store.DisposeAsync();
    }

    private static async Task<PeerStore> RedisAsync(string name, string binary, bool appendOnly, CancellationToken cancellationToken)
    {
        var server = await RedisServer.StartAsync(binary, appendOnly, cancellationToken);
        try
        {
            var connection = await ConnectionMultiplexer.ConnectAsync(server.Address);
            return new PeerStore(name, connection, server)
            {
                UseInSilo = silo => silo.UseRedisClustering(server.Address),
                UseInClient = client => client.UseRedisClustering(server.Address),
                RewriteAsync = async clusterId =>
                {
                    var database = connection.GetDatabase();
                    var key = connection.GetServers()[0].Keys(pattern: $"*{clusterId}*").Single();
                    // In the server: what is written between the reads should leave no garbage for them to collect.
                    await database.ScriptEvaluateAsync("redis.call('HSET', KEYS[1], unpack(redis.call('HGETALL', KEYS[1])))", [key]);
                },
            };
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    private static async Task<PeerStore?> TryPostgresAsync(Report report, CancellationToken cancellationToken)
    {
        if (OrleansSql.Folder is not { } folder)
        {
            report.Note("PostgreSQL's membership is left out: ORLEANS_SQL_DIR names no folder with Orleans' scripts for it, which are not in its package.");
            return null;
        }

        if (PostgresServer.Binaries is not { } binaries)
        {
            report.Note(PostgresServer.Missing);
            return null;
        }

        try
        {
            return await PostgresAsync(binaries, folder, cancellationToken);
        }
        catch (Exception exception) when (exception is PostgresServerException or EtcdServerException)
        {
            report.Note($"PostgreSQL is left out: {exception.Message}");
            return null;
        }
    }

    private static async Task<PeerStore> PostgresAsync(string binaries, string folder, CancellationToken cancellationToken)
    {
        var server = await PostgresServer.StartAsync(binaries, cancellationToken);
        var source = NpgsqlDataSource.Create(server.ConnectionString);
        var store = new PeerStore("PostgreSQL", source, server)
        {
            UseInSilo = silo => silo.UseAdoNetClustering(options => (options.Invariant, options.ConnectionString) = (OrleansSql.Invariant, server.ConnectionString)),
            UseInClient = client => client.UseAdoNetClustering(options => (options.Invariant, options.ConnectionString) = (OrleansSql.Invariant, server.ConnectionString)),
            RewriteAsync = async clusterId =>
            {
                await using var command = source.CreateCommand("UPDATE OrleansMembershipTable SET IAmAliveTime = IAmAliveTime WHERE DeploymentId = $1");
                command.Parameters.AddWithValue(clusterId);
                await command.ExecuteNonQueryAsync(CancellationToken.None);
                // Nor should what was there before be in the way.
                await VacuumAsync("OrleansMembershipTable");
            },
            SettleAsync = () => VacuumAsync("(ANALYZE)"),
        };
        try
        {
            await OrleansSql.RunAsync(source, folder, cancellationToken);
            return store;
        }
        catch
        {
            await store.DisposeAsync();
            throw;
        }

        async Task VacuumAsync(string what)
        {
            await using var command = source.CreateCommand($"VACUUM {what}");
            await command.ExecuteNonQueryAsync(CancellationToken.None);
        }
    }
}
