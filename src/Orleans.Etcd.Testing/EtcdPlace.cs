namespace Orleans.Etcd.Testing;

/// <summary>Where a member runs and how others reach it: on loopback by default.</summary>
internal sealed record EtcdPlace(EtcdPorts Ports)
{
    /// <summary>The address it listens on.</summary>
    public string Host { get; init; } = "127.0.0.1";

    /// <summary>What stands before its command line, and ends in running it as the same process.</summary>
    public IReadOnlyList<string> Prefix { get; init; } = [];

    /// <summary>Where clients reach it, if not where it listens.</summary>
    public Uri? Clients { get; init; }

    /// <summary>Where other members reach it.</summary>
    public Uri Peers
    {
        get => field ?? Address(Ports.Peer);
        init;
    }

    public Uri Address(int port) => new UriBuilder("http", Host, port).Uri;
}
