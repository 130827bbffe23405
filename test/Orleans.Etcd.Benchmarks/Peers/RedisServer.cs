using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A redis-server of our own: a free loopback port, a directory that goes with it, ended by its process id.</summary>
internal sealed class RedisServer : IAsyncDisposable
{
    public const string Missing = "Redis is left out: there is no redis-server on this machine.";

    private static readonly TimeSpan StartTimeout = TimeSpan.FromSeconds(20);
    private readonly Process _process;
    private readonly ServerDirectory _directory;

    private RedisServer(Process process, ServerDirectory directory, int port) => (_process, _directory, Port) = (process, directory, port);

    /// <summary>What <c>./run-benchmarks</c> found or installed; null where there is none.</summary>
    public static string? Binary => Environment.GetEnvironmentVariable("REDIS_SERVER") is { Length: > 0 } path ? path : null;

    public string Address => $"127.0.0.1:{Port}";

    private int Port { get; }

    /// <summary>Starts one that keeps all in memory, or one that syncs each write to its append-only file.</summary>
    public static async Task<RedisServer> StartAsync(string binary, bool appendOnly, CancellationToken cancellationToken)
    {
        var directory = ServerDirectory.Create(Repository.Data());
        var port = LoopbackPort.Take();
        var start = ProcessStarter.EndingWithUs(
            binary, "--bind", "127.0.0.1", "--port", $"{port}", "--dir", directory.Path, "--save", "", "--loglevel", "warning",
            "--logfile", "redis.log", "--appendonly", appendOnly ? "yes" : "no", "--appendfsync", "always");
        var server = new RedisServer(await ProcessStarter.StartAsync(start), directory, port);
        try
        {
            await server.WaitAsync(cancellationToken);
            return server;
        }
        catch
        {
            await server.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        _directory.Delete();
    }

    private async Task WaitAsync(CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(started) > StartTimeout)
                throw new InvalidOperationException($"redis-server did not start on port {Port}.");
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync(IPAddress.Loopback, Port, cancellationToken);
                return;
            }
            catch (SocketException)
            {
                await Task.Delay(20, cancellationToken);
            }
        }
    }
}
