using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using StackExchange.Redis;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Microsoft.Orleans.Clustering.Redis as a silo gets it, on a server of its own.</summary>
internal sealed class RedisTable : IAsyncDisposable
{
    private readonly RedisServer _server;
    private readonly IHost _host;
    private readonly ConnectionMultiplexer _connection;

    private RedisTable(string name, RedisServer server, IHost host, ConnectionMultiplexer connection) =>
        (Name, _server, _host, _connection, Table) = (name, server, host, connection, host.Services.GetRequiredService<IMembershipTable>());

    public string Name { get; }

    public IMembershipTable Table { get; }

    /// <summary>What <c>./run-benchmarks</c> found or installed; null where there is none.</summary>
    public static string? Binary => Environment.GetEnvironmentVariable("REDIS_SERVER") is { Length: > 0 } path ? path : null;

    public static async Task<RedisTable> OpenAsync(string name, string root, bool appendOnly, int rows, CancellationToken cancellationToken)
    {
        var server = await RedisServer.StartAsync(Binary!, root, appendOnly, cancellationToken);
        var host = new HostBuilder()
            .ConfigureLogging(logging => logging.ClearProviders())
            .UseOrleans(silo => silo
                .Configure<ClusterOptions>(cluster => (cluster.ServiceId, cluster.ClusterId) = ("benchmark", "redis"))
                .UseRedisClustering($"127.0.0.1:{server.Port}"))
            .Build();
        var redis = new RedisTable(name, server, host, await ConnectionMultiplexer.ConnectAsync($"127.0.0.1:{server.Port}"));
        try
        {
            await redis.FillAsync(rows, cancellationToken);
            return redis;
        }
        catch
        {
            await redis.DisposeAsync();
            throw;
        }
    }

    public Contender ReadAll(int rows) => new(Name, async () =>
    {
        if ((await Table.ReadAllAsync(CancellationToken.None)).Members.Count != rows)
            throw new InvalidOperationException($"{Name} did not answer all {rows} rows.");
    });

    /// <summary>Writes every row again, past the provider: each value as it is, all in one command.</summary>
    public async Task RewriteAsync()
    {
        var database = _connection.GetDatabase();
        var key = (RedisKey)_connection.GetServers()[0].Keys().Single().ToString();
        await database.HashSetAsync(key, await database.HashGetAllAsync(key));
    }

    public async ValueTask DisposeAsync()
    {
        await _connection.DisposeAsync();
        await ((IAsyncDisposable)_host).DisposeAsync();
        await _server.DisposeAsync();
    }

    private async Task FillAsync(int rows, CancellationToken cancellationToken)
    {
        await Table.InitializeMembershipTableAsync(true, cancellationToken);
        for (var number = 0; number < rows; number++)
        {
            var entry = Silos.Entry(number);
            var version = (await Table.ReadRowAsync(entry.SiloAddress, cancellationToken)).Version;
            if (!await Table.InsertRowAsync(entry, version.Next(), cancellationToken))
                throw new InvalidOperationException($"{Name} refused row {number}.");
        }
    }
}
