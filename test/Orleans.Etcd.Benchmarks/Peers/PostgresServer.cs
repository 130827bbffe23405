using System.Diagnostics;
using Npgsql;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// A PostgreSQL of our own with its default settings: a free loopback port, a directory that goes with it, ended by its
/// process id. It refuses to run as root, for whom it runs as nobody.
/// </summary>
internal sealed class PostgresServer : IAsyncDisposable
{
    public const string Missing = "PostgreSQL is left out: it is not on this machine.";

    private const string User = "nobody";
    private const int SigInt = 2;
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private readonly EtcdProcess _process;
    private readonly ServerDirectory _directory;

    private PostgresServer(EtcdProcess process, ServerDirectory directory, int port)
    {
        (_process, _directory) = (process, directory);
        ConnectionString = $"Host=127.0.0.1;Port={port};Username=postgres;Database=postgres";
    }

    public string ConnectionString { get; }

    /// <summary>The folder with initdb and postgres, which <c>./run-benchmarks</c> found or fetched; null where there is none.</summary>
    public static string? Binaries => Environment.GetEnvironmentVariable("POSTGRES_BIN") is { Length: > 0 } path ? path : null;

    public static async Task<PostgresServer> StartAsync(string binaries, CancellationToken cancellationToken)
    {
        var directory = ServerDirectory.Create(Repository.Data());
        try
        {
            if (Environment.IsPrivilegedProcess)
                await RunAsync(new ProcessStartInfo("chown", [User, directory.Path]), cancellationToken);
            var data = Path.Combine(directory.Path, "data");
            await RunAsync(AsUser(Path.Combine(binaries, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-locale", "-E", "UTF8"), cancellationToken);
            var port = LoopbackPort.Take();
            // All that it shares between its processes lies in its directory too. A log of its own would be written by a process that outlives it.
            var start = AsUser(
                Path.Combine(binaries, "postgres"), "-D", data, "-p", $"{port}", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=",
                "-c", "dynamic_shared_memory_type=mmap", "-c", "log_min_messages=panic");
            var server = new PostgresServer(await EtcdProcess.StartAsync(start), directory, port);
            try
            {
                await server.WaitAsync(cancellationToken);
                return server;
            }
            catch
            {
                await server.EndAsync();
                throw;
            }
        }
        catch
        {
            directory.Delete();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await EndAsync();
        _directory.Delete();
    }

    /// <summary>SIGINT ends its connections too. Killed it would leave its shared memory behind.</summary>
    private async Task EndAsync()
    {
        NpgsqlConnection.ClearAllPools();
        _process.Signal(SigInt);
        if (!await _process.WaitAsync(Limit, CancellationToken.None))
            await _process.KillAsync(CancellationToken.None);
    }

    private async Task WaitAsync(CancellationToken cancellationToken)
    {
        var started = Stopwatch.GetTimestamp();
        while (true)
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(started) > Limit)
                throw new PostgresServerException("it did not start.");
            try
            {
                await using var connection = new NpgsqlConnection(ConnectionString);
                await connection.OpenAsync(cancellationToken);
                return;
            }
            catch (NpgsqlException)
            {
                await Task.Delay(50, cancellationToken);
            }
        }
    }

    private static async Task RunAsync(ProcessStartInfo start, CancellationToken cancellationToken)
    {
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        using var process = await ProcessStarter.StartAsync(start);
        var error = process.StandardError.ReadToEndAsync(cancellationToken);
        await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        if (process.ExitCode != 0)
            throw new PostgresServerException($"{Path.GetFileName(start.FileName)} failed: {(await error).Trim()}");
    }

    /// <summary>The parent death signal is set once the user has changed, which would clear it.</summary>
    private static ProcessStartInfo AsUser(params string[] command)
    {
        var start = ProcessStarter.EndingWithUs(command);
        return Environment.IsPrivilegedProcess
            ? new ProcessStartInfo("setpriv", ["--reuid", User, "--regid", "nogroup", "--clear-groups", "--", start.FileName, .. start.ArgumentList])
            : start;
    }
}
