namespace Orleans.Etcd.Testing;

/// <summary>How an <see cref="EtcdServer"/>, or every member of an <see cref="EtcdCluster"/>, is started.</summary>
/// <remarks>Read once, when the server is created; later changes have no effect. Not thread safe.</remarks>
public sealed class EtcdServerOptions
{
    private List<string> _extraArguments = [];

    /// <summary>The etcd binary. Default: null, which is <see cref="EtcdBinary.Find"/> without a version.</summary>
    public string? BinaryPath { get; set; }

    /// <summary>How the client endpoint is secured. Default: <see cref="EtcdTls.None"/>.</summary>
    public EtcdTls Tls { get; set; }

    /// <summary>
    /// The certificates to use when <see cref="Tls"/> is not <see cref="EtcdTls.None"/>. Default: null, which makes new ones,
    /// deleted together with the server.
    /// </summary>
    public EtcdCertificates? Certificates { get; set; }

    /// <summary>
    /// A user with etcd's root role; setting it enables authentication. etcd demands a user named <c>root</c>, which is
    /// made too, with the same password, when this is another name. Default: null, no authentication.
    /// </summary>
    public string? UserName { get; set; }

    /// <summary>The password of <see cref="UserName"/>; required with it. Default: null.</summary>
    public string? Password { get; set; }

    /// <summary>
    /// The life of an authentication token, in whole seconds, at least one. Default: null, which is etcd's own default of
    /// 300 seconds. etcd renews the life of a token whenever the token is used.
    /// </summary>
    public TimeSpan? AuthTokenTtl { get; set; }

    /// <summary>
    /// The directory under which each server makes a directory of its own, for data, log and certificates, deleted on
    /// dispose. Default: null, the temporary directory.
    /// </summary>
    public string? DataDirectory { get; set; }

    /// <summary>Further command line arguments for etcd, placed last, where they win over the ones set here.</summary>
    public IList<string> ExtraArguments => _extraArguments;

    /// <summary>How long a start or restart may take until the server answers. Default: 30 seconds.</summary>
    public TimeSpan StartTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>etcd's heartbeat interval, in whole milliseconds. Default: null, etcd's own default of 100 ms.</summary>
    public TimeSpan? HeartbeatInterval { get; set; }

    /// <summary>
    /// etcd's election timeout, in whole milliseconds, at least five heartbeat intervals. Default: null, etcd's own default
    /// of 1,000 ms.
    /// </summary>
    public TimeSpan? ElectionTimeout { get; set; }

    /// <summary>
    /// Whether the server is running when <see cref="EtcdServer.StartAsync"/> returns. Default: true. When false, its
    /// endpoint and certificates exist but nothing listens until <see cref="EtcdServer.RestartAsync"/>.
    /// </summary>
    public bool AutoStart { get; set; } = true;

    internal EtcdServerOptions Snapshot()
    {
        var copy = (EtcdServerOptions)MemberwiseClone();
        copy._extraArguments = [.. ExtraArguments];
        return copy;
    }

    internal void Validate()
    {
        List<string> failures = [];
        if (!Enum.IsDefined(Tls)) failures.Add($"{nameof(Tls)} has the unknown value {(int)Tls}.");
        if (Certificates is not null && Tls == EtcdTls.None)
            failures.Add($"{nameof(Certificates)} has no effect while {nameof(Tls)} is {nameof(EtcdTls.None)}.");
        if ((UserName is null) != (Password is null) || UserName is "" || Password is "")
            failures.Add($"{nameof(UserName)} and {nameof(Password)} must be set together, and not be empty.");
        if (AuthTokenTtl is { } ttl && ttl < TimeSpan.FromSeconds(1))
            failures.Add($"{nameof(AuthTokenTtl)} must be at least one second, not {ttl}.");
        if (StartTimeout <= TimeSpan.Zero || StartTimeout > TimeSpan.FromHours(1))
            failures.Add($"{nameof(StartTimeout)} must be positive and at most one hour, not {StartTimeout}.");
        if (HeartbeatInterval is { } heartbeat && heartbeat < TimeSpan.FromMilliseconds(1))
            failures.Add($"{nameof(HeartbeatInterval)} must be at least one millisecond, not {heartbeat}.");
        if (ElectionTimeout is { } election && election < TimeSpan.FromMilliseconds(1))
            failures.Add($"{nameof(ElectionTimeout)} must be at least one millisecond, not {election}.");
        if (failures.Count > 0)
            throw new ArgumentException($"{nameof(EtcdServerOptions)}: {string.Join(' ', failures)}");
    }
}
