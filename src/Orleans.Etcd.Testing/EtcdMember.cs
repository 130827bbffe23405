using System.Globalization;

namespace Orleans.Etcd.Testing;

/// <summary>What one member must know of the cluster it belongs to, a cluster of one included.</summary>
internal sealed record EtcdMember(string Name, EtcdPlace Place, string ClusterToken, string InitialCluster)
{
    public static EtcdMember[] Plan(int count) => Plan([.. Enumerable.Range(0, count).Select(_ => new EtcdPlace(EtcdPorts.Take()))]);

    public static EtcdMember[] Plan(IReadOnlyList<EtcdPlace> places)
    {
        var token = $"etcd-testing-{Guid.NewGuid():N}";
        var initial = string.Join(',', places.Select((place, index) => $"{NameOf(index)}={Url(place.Peers)}"));
        return [.. places.Select((place, index) => new EtcdMember(NameOf(index), place, token, initial))];
    }

    public IEnumerable<string> Arguments(string directory, Uri endpoint, Uri metrics, EtcdServerOptions options, EtcdCertificates? certificates)
    {
        List<string> arguments =
        [
            "--name", Name,
            "--data-dir", Path.Combine(directory, "data"),
            "--listen-client-urls", Url(endpoint),
            "--advertise-client-urls", Url(Place.Clients ?? endpoint),
            "--listen-peer-urls", Url(Place.Address(Place.Ports.Peer)),
            "--initial-advertise-peer-urls", Url(Place.Peers),
            "--initial-cluster", InitialCluster,
            "--initial-cluster-token", ClusterToken,
            "--initial-cluster-state", "new",
            // Plain, so that metrics and health can be asked for whatever the client endpoint demands.
            "--listen-metrics-urls", Url(metrics),
            // The default of 3.5; with 3.4 a resumed member would otherwise disturb a healthy leader.
            "--pre-vote=true",
            "--logger", "zap",
            "--log-level", "info",
            "--log-outputs", "stderr",
        ];
        if (options.HeartbeatInterval is { } heartbeat)
            arguments.AddRange(["--heartbeat-interval", Number(heartbeat.TotalMilliseconds)]);
        if (options.ElectionTimeout is { } election)
            arguments.AddRange(["--election-timeout", Number(election.TotalMilliseconds)]);
        if (options.AuthTokenTtl is { } ttl)
            arguments.AddRange(["--auth-token-ttl", Number(ttl.TotalSeconds)]);
        if (certificates is not null)
            arguments.AddRange(["--cert-file", certificates.ServerCertificateFile, "--key-file", certificates.ServerKeyFile]);
        if (certificates is not null && options.Tls == EtcdTls.MutualTls)
            arguments.AddRange(["--client-cert-auth", "--trusted-ca-file", certificates.CaCertificateFile]);
        return arguments.Concat(options.ExtraArguments);
    }

    private static string NameOf(int index) => string.Create(CultureInfo.InvariantCulture, $"member{index + 1}");

    private static string Url(Uri uri) => uri.GetLeftPart(UriPartial.Authority);

    private static string Number(double value) => Math.Ceiling(value).ToString("0", CultureInfo.InvariantCulture);
}
