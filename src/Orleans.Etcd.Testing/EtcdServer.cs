using System.Globalization;
using System.Text.Json.Nodes;

namespace Orleans.Etcd.Testing;

/// <summary>A real etcd server on loopback, with free ports and a data directory of its own.</summary>
/// <remarks>
/// <para>Stop, kill and restart keep ports and data; dispose kills the server, paused or not, and deletes its directory.
/// On Linux the server also dies with the process that started it, however that ends, and what such a process left on disk
/// is deleted by the next one.</para>
/// <para>Thread safe: stop, kill, restart and dispose wait for one another. Linux and macOS only.</para>
/// </remarks>
/// <example><code>
/// await using var etcd = await EtcdServer.StartAsync();
/// siloBuilder.UseEtcdClustering(etcd.Endpoint.ToString());
/// await etcd.KillAsync();
/// await etcd.RestartAsync();
/// </code></example>
public sealed partial class EtcdServer : IAsyncDisposable
{
    private static readonly TimeSpan StopTimeout = TimeSpan.FromSeconds(20);
    private readonly SemaphoreSlim _lifecycle = new(1, 1);
    private readonly EtcdServerOptions _options;
    private readonly EtcdMember _member;
    private readonly string _binary;
    private readonly ServerDirectory? _ownDirectory;
    private readonly EtcdCertificates? _certificates;
    private readonly EtcdAuthentication? _authentication;
    private readonly EtcdGateway _gateway;
    private readonly ServerLog _log;
    private volatile EtcdProcess? _process;
    // A process and not a flag: whoever pauses one that is just being killed says nothing of the next.
    private volatile EtcdProcess? _paused;
    private volatile bool _disposed;

    internal EtcdServer(
        EtcdServerOptions options,
        EtcdMember member,
        string binary,
        ServerDirectory directory,
        bool ownsDirectory,
        EtcdCertificates? certificates,
        EtcdAuthentication? authentication)
    {
        (_options, _member, _binary, _certificates, _authentication) = (options, member, binary, certificates, authentication);
        _ownDirectory = ownsDirectory ? directory : null;
        DataDirectory = Path.Combine(directory.Path, member.Name);
        Version = EtcdBinary.VersionOf(binary);
        Endpoint = new UriBuilder(certificates is null ? "http" : "https", member.Place.Host, member.Place.Ports.Client).Uri;
        MetricsEndpoint = member.Place.Address(member.Place.Ports.Metrics);
        _gateway = new EtcdGateway(Endpoint, certificates, options.Tls == EtcdTls.MutualTls);
        Directory.CreateDirectory(DataDirectory);
        _log = new ServerLog(Path.Combine(DataDirectory, "etcd.log"));
    }

    /// <summary>The name of the member.</summary>
    public string Name => _member.Name;

    /// <summary>Where clients connect: http or https on 127.0.0.1. Stays the same over restarts.</summary>
    public Uri Endpoint { get; }

    /// <summary>Where clients of a cluster are told to connect, which may be something in between.</summary>
    internal Uri ClientEndpoint => _member.Place.Clients ?? Endpoint;

    /// <summary>Where <c>/metrics</c> and <c>/health</c> are, always plain http.</summary>
    public Uri MetricsEndpoint { get; }

    /// <summary>The version of the binary, for example <c>3.5.16</c>.</summary>
    public string Version { get; }

    /// <summary>The id of the running process.</summary>
    /// <exception cref="InvalidOperationException">The server is not running.</exception>
    public int ProcessId => Running().Id;

    /// <summary>The id of the process, where there is one.</summary>
    internal int? TryGetProcessId() => _process is { HasExited: false } process ? process.Id : null;

    /// <summary>Whether the process exists; a paused one does.</summary>
    public bool IsRunning => _process is { HasExited: false };

    /// <summary>Whether the process is paused.</summary>
    public bool IsPaused => IsRunning && _paused == _process;

    /// <summary>The server's own directory, deleted on dispose.</summary>
    public string DataDirectory { get; }

    /// <summary>etcd's log, of all runs. Deleted on dispose.</summary>
    public string LogFile => _log.Path;

    /// <summary>The user to authenticate as; null without authentication.</summary>
    public string? UserName => _options.UserName;

    /// <summary>The password of <see cref="UserName"/>.</summary>
    public string? Password => _options.Password;

    /// <summary>The PEM file of the certificate authority; null without TLS.</summary>
    public string? CaCertificateFile => _certificates?.CaCertificateFile;

    /// <summary>The PEM file of a client certificate; null without TLS.</summary>
    public string? ClientCertificateFile => _certificates?.ClientCertificateFile;

    /// <summary>The PEM file of the client certificate's private key; null without TLS.</summary>
    public string? ClientKeyFile => _certificates?.ClientKeyFile;

    /// <summary>Starts a server and waits until it answers.</summary>
    /// <exception cref="FileNotFoundException">There is no etcd binary; the message says how to get it.</exception>
    /// <exception cref="ArgumentException">An option is invalid.</exception>
    /// <exception cref="EtcdServerException">etcd ended or did not answer in time; the message holds the end of its log.</exception>
    public static async Task<EtcdServer> StartAsync(EtcdServerOptions? options = null, CancellationToken cancellationToken = default)
    {
        var (members, _) = await EtcdLauncher.StartAsync(options, () => EtcdMember.Plan(1), cancellationToken).ConfigureAwait(false);
        return members[0];
    }

    /// <summary>Ends the server gracefully (SIGTERM) and waits; does nothing when it is not running.</summary>
    /// <remarks>A paused server is resumed, so that it can end. One that does not end within 20 seconds is killed.</remarks>
    public Task StopAsync(CancellationToken cancellationToken = default) => ExclusiveAsync(StopCoreAsync, cancellationToken);

    /// <summary>Ends the server at once (SIGKILL), paused or not, and waits; does nothing when it is not running.</summary>
    public Task KillAsync(CancellationToken cancellationToken = default) => ExclusiveAsync(KillCoreAsync, cancellationToken);

    /// <summary>
    /// Starts the server again on the same ports and data, and waits until it answers; stops it first when it is running.
    /// </summary>
    /// <remarks>
    /// A member whose cluster has no quorum does not answer: restart several members at the same time, and await them
    /// together, or use <see cref="EtcdCluster.RestartAsync"/>.
    /// </remarks>
    /// <exception cref="EtcdServerException">etcd ended or did not answer in time; the message holds the end of its log.</exception>
    public Task RestartAsync(CancellationToken cancellationToken = default) => ExclusiveAsync(
        async token =>
        {
            await StopCoreAsync(token).ConfigureAwait(false);
            await LaunchOnFixedPortsAsync(token).ConfigureAwait(false);
        },
        cancellationToken);

    /// <summary>Stops the process where it is (SIGSTOP): connections stay open, nothing is answered.</summary>
    /// <exception cref="InvalidOperationException">The server is not running.</exception>
    public void Pause()
    {
        var process = Running();
        process.Freeze();
        _paused = process;
    }

    /// <summary>Lets a paused process continue (SIGCONT).</summary>
    /// <exception cref="InvalidOperationException">The server is not running.</exception>
    public void Resume()
    {
        Running().Signal(EtcdProcess.SigCont);
        _paused = null;
    }

    /// <summary>The text of etcd's <c>/metrics</c> page.</summary>
    /// <exception cref="EtcdServerException">etcd is not running.</exception>
    /// <exception cref="TimeoutException">etcd did not answer within 10 seconds.</exception>
    public Task<string> GetMetricsAsync(CancellationToken cancellationToken = default) =>
        _gateway.GetAsync(new Uri(MetricsEndpoint, "/metrics"), cancellationToken);

    /// <summary>The cluster's current revision, by a linearizable read.</summary>
    /// <inheritdoc cref="GetMetricsAsync" path="/exception"/>
    public async Task<long> GetRevisionAsync(CancellationToken cancellationToken = default)
    {
        var body = new JsonObject { ["key"] = "AA==", ["count_only"] = true };
        var answer = await _gateway.ReadAsync("/v3/kv/range", body, cancellationToken).ConfigureAwait(false);
        return Int64(answer["header"]?["revision"]);
    }

    /// <summary>Forgets every superseded value at or below a revision, and waits until that is done on this member.</summary>
    /// <exception cref="EtcdServerException">etcd refused: the revision is in the future, or already compacted.</exception>
    /// <inheritdoc cref="GetMetricsAsync" path="/exception"/>
    public Task CompactAsync(long revision, CancellationToken cancellationToken = default) => _gateway.PostAsync(
        "/v3/kv/compaction",
        new() { ["revision"] = revision.ToString(CultureInfo.InvariantCulture), ["physical"] = true },
        cancellationToken);

    /// <summary>Gives the space that compaction freed back to the file system; the member answers nothing meanwhile.</summary>
    /// <inheritdoc cref="GetMetricsAsync" path="/exception"/>
    public Task DefragmentAsync(CancellationToken cancellationToken = default) =>
        _gateway.PostAsync("/v3/maintenance/defragment", [], cancellationToken);

    /// <summary>Kills the server and deletes its directory.</summary>
    public async ValueTask DisposeAsync()
    {
        if (_disposed) return;
        _disposed = true;
        // Before waiting for the turn: a start that is under way ends with its process.
        if (_process is { } running) await running.KillAsync(CancellationToken.None).ConfigureAwait(false);
        await _lifecycle.WaitAsync().ConfigureAwait(false);
        try
        {
            await KillCoreAsync(CancellationToken.None).ConfigureAwait(false);
        }
        finally
        {
            _lifecycle.Release();
        }

        _gateway.Dispose();
        _member.Place.Ports.Release();
        _ownDirectory?.Delete();
    }

    /// <summary>Starts without retrying on a port that is taken, so that other ports can be tried.</summary>
    internal Task StartOnceAsync(CancellationToken cancellationToken) => ExclusiveAsync(LaunchAsync, cancellationToken);

    /// <summary>The Raft term this member believes in, and whether it believes to lead.</summary>
    internal async Task<(long Term, bool IsLeader)> GetRoleAsync(CancellationToken cancellationToken)
    {
        var status = await _gateway.PostAsync("/v3/maintenance/status", [], cancellationToken).ConfigureAwait(false);
        var leader = status["leader"]?.ToString();
        return (Int64(status["raftTerm"]), leader is not null && leader == status["header"]?["member_id"]?.ToString());
    }

    /// <summary>Hands the leadership over to another member; this one has to lead.</summary>
    internal async Task MoveLeaderAsync(EtcdServer next, CancellationToken cancellationToken = default)
    {
        var status = await next._gateway.PostAsync("/v3/maintenance/status", [], cancellationToken).ConfigureAwait(false);
        await _gateway.PostAsync("/v3/maintenance/transfer-leadership", new() { ["targetID"] = status["header"]?["member_id"]?.ToString() }, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>The ids of all leases.</summary>
    internal async Task<IReadOnlyList<long>> GetLeasesAsync(CancellationToken cancellationToken = default)
    {
        var answer = await _gateway.PostAsync("/v3/lease/leases", [], cancellationToken).ConfigureAwait(false);
        return [.. answer["leases"]?.AsArray().Select(lease => Int64(lease?["ID"])) ?? []];
    }

    /// <summary>Ends a lease, and every key on it.</summary>
    internal Task RevokeLeaseAsync(long lease, CancellationToken cancellationToken = default) =>
        _gateway.PostAsync("/v3/lease/revoke", new() { ["ID"] = lease.ToString(CultureInfo.InvariantCulture) }, cancellationToken);

    private static long Int64(JsonNode? number) => long.Parse(number?.ToString() ?? "0", CultureInfo.InvariantCulture);

    private EtcdProcess Running() =>
        _process is { HasExited: false } process ? process : throw new InvalidOperationException($"etcd {Name} at {Endpoint} is not running.");

    private async Task ExclusiveAsync(Func<CancellationToken, Task> action, CancellationToken cancellationToken)
    {
        await _lifecycle.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            await action(cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            _lifecycle.Release();
        }
    }
}
