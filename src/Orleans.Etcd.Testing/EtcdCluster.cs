namespace Orleans.Etcd.Testing;

/// <summary>A real etcd cluster on loopback, of three members by default, whose members can be stopped one by one.</summary>
/// <remarks>
/// The options hold for every member; TLS secures the clients' connections, members talk to each other in plain. Ports
/// and data stay over restarts and go on dispose, as for a single <see cref="EtcdServer"/>. Thread safe.
/// </remarks>
/// <example><code>
/// await using var etcd = await EtcdCluster.StartAsync();
/// var leader = await etcd.GetLeaderAsync();
/// leader.Pause();
/// var next = await etcd.GetLeaderAsync();
/// </code></example>
public sealed class EtcdCluster : IAsyncDisposable
{
    private const int MaxMembers = 5;
    private static readonly TimeSpan LeaderTimeout = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan RoleTimeout = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan ProbeInterval = TimeSpan.FromMilliseconds(50);
    private readonly ServerDirectory _directory;

    private EtcdCluster(EtcdServer[] members, ServerDirectory directory)
    {
        Members = Array.AsReadOnly(members);
        Endpoints = Array.AsReadOnly(Array.ConvertAll(members, member => member.ClientEndpoint));
        _directory = directory;
    }

    /// <summary>The members, running or not, always in the same order.</summary>
    public IReadOnlyList<EtcdServer> Members { get; }

    /// <summary>The client endpoints of <see cref="Members"/>, in the same order.</summary>
    public IReadOnlyList<Uri> Endpoints { get; }

    /// <summary>The PEM file of the certificate authority, the same for all members; null without TLS.</summary>
    public string? CaCertificateFile => Members[0].CaCertificateFile;

    /// <summary>The PEM file of a client certificate, the same for all members; null without TLS.</summary>
    public string? ClientCertificateFile => Members[0].ClientCertificateFile;

    /// <summary>The PEM file of the client certificate's private key; null without TLS.</summary>
    public string? ClientKeyFile => Members[0].ClientKeyFile;

    /// <summary>Starts all members and waits until each of them answers, which takes a leader.</summary>
    /// <param name="options">Holds for every member. Default: null, all defaults.</param>
    /// <param name="memberCount">The number of members, one to five. Default: 3.</param>
    /// <param name="cancellationToken">Ends the wait, and everything that was started.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="memberCount"/> is not between one and five.</exception>
    /// <inheritdoc cref="EtcdServer.StartAsync" path="/exception"/>
    public static async Task<EtcdCluster> StartAsync(
        EtcdServerOptions? options = null, int memberCount = 3, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(memberCount, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(memberCount, MaxMembers);
        var (members, directory) = await EtcdLauncher.StartAsync(options, () => EtcdMember.Plan(memberCount), cancellationToken).ConfigureAwait(false);
        return new EtcdCluster(members, directory);
    }

    /// <summary>Starts one member in each place.</summary>
    internal static async Task<EtcdCluster> StartAsync(EtcdServerOptions options, Func<IReadOnlyList<EtcdPlace>> places, CancellationToken cancellationToken = default)
    {
        var (members, directory) = await EtcdLauncher.StartAsync(options, () => EtcdMember.Plan(places()), cancellationToken).ConfigureAwait(false);
        return new EtcdCluster(members, directory);
    }

    /// <summary>The member that leads, waiting for an election where there is none. Paused members are not asked.</summary>
    /// <exception cref="TimeoutException">No leader was elected within 30 seconds.</exception>
    public async Task<EtcdServer> GetLeaderAsync(CancellationToken cancellationToken = default)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(LeaderTimeout);
        try
        {
            while (true)
            {
                var roles = await AskRolesAsync(limit.Token).ConfigureAwait(false);
                // A leader that was cut off goes on believing in itself for a while, but in an older term.
                var newest = roles.MaxBy(role => role.Term);
                if (roles.Where(role => role.Term == newest.Term).FirstOrDefault(role => role.IsLeader).Member is { } leader) return leader;
                await Task.Delay(ProbeInterval, limit.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(
                $"The cluster {string.Join(", ", Endpoints)} had no leader within {LeaderTimeout.TotalSeconds:0} s; "
                + $"{Members.Count(member => member is { IsRunning: true, IsPaused: false })} of {Members.Count} members are running.", exception);
        }
    }

    /// <summary>Stops all members gracefully, the leader last.</summary>
    public async Task StopAsync(CancellationToken cancellationToken = default)
    {
        // A leader that ends hands its leadership over first, and waits seconds for a member that is ending too.
        var roles = await AskRolesAsync(cancellationToken).ConfigureAwait(false);
        var followers = Members.Where(member => !roles.Any(role => role.IsLeader && role.Member == member));
        await Task.WhenAll(followers.Select(member => member.StopAsync(cancellationToken))).ConfigureAwait(false);
        await Task.WhenAll(Members.Select(member => member.StopAsync(cancellationToken))).ConfigureAwait(false);
    }

    /// <summary>Kills all members.</summary>
    public Task KillAsync(CancellationToken cancellationToken = default) =>
        Task.WhenAll(Members.Select(member => member.KillAsync(cancellationToken)));

    /// <summary>Starts all members on the same ports and data, stopping those that run.</summary>
    /// <inheritdoc cref="EtcdServer.RestartAsync" path="/exception"/>
    public async Task RestartAsync(CancellationToken cancellationToken = default)
    {
        await StopAsync(cancellationToken).ConfigureAwait(false);
        await Task.WhenAll(Members.Select(member => member.RestartAsync(cancellationToken))).ConfigureAwait(false);
    }

    /// <summary>Kills all members and deletes their directory.</summary>
    public async ValueTask DisposeAsync()
    {
        await Task.WhenAll(Members.Select(member => member.DisposeAsync().AsTask())).ConfigureAwait(false);
        _directory.Delete();
    }

    private Task<(EtcdServer? Member, long Term, bool IsLeader)[]> AskRolesAsync(CancellationToken cancellationToken) =>
        Task.WhenAll(Members.Select(member => AskRoleAsync(member, cancellationToken)));

    private static async Task<(EtcdServer? Member, long Term, bool IsLeader)> AskRoleAsync(EtcdServer member, CancellationToken cancellationToken)
    {
        if (!member.IsRunning || member.IsPaused) return default;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(RoleTimeout);
        try
        {
            var (term, isLeader) = await member.GetRoleAsync(limit.Token).ConfigureAwait(false);
            return (member, term, isLeader);
        }
        catch (Exception exception) when (
            exception is EtcdServerException || (exception is OperationCanceledException && !cancellationToken.IsCancellationRequested))
        {
            return default;
        }
    }
}
