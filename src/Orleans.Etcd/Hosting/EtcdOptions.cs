using System.Security.Cryptography.X509Certificates;

namespace Orleans.Configuration;

/// <summary>
/// How to reach etcd. Validated as a whole before anything is sent: see <see cref="EtcdOptionsValidator"/>.
/// </summary>
/// <remarks>
/// Secrets (<see cref="Password"/>, <see cref="ClientCertificate"/>) are redacted where Orleans logs its options
/// and never appear in an exception.
/// </remarks>
public sealed class EtcdOptions
{
    /// <summary>Default of <see cref="KeyPrefix"/>.</summary>
    public const string DefaultKeyPrefix = "orleans";

    /// <summary>
    /// Client URLs of the etcd members, such as <c>http://10.0.0.1:2379</c>. At least one; all <c>http</c> or all
    /// <c>https</c>; port 2379 where none is given. Name all members: a call moves on to the next one when a member
    /// fails or hangs. Other clients of the same cluster may name other members.
    /// </summary>
    public IList<string> Endpoints { get; set; } = [];

    /// <summary>
    /// The root of every key that this package writes. Default <c>orleans</c>; 1 to 512 characters, no control
    /// characters, no leading or trailing slash. It may contain slashes.
    /// </summary>
    public string KeyPrefix { get; set; } = DefaultKeyPrefix;

    /// <summary>etcd user, for a cluster with authentication enabled. Default: none.</summary>
    public string? UserName { get; set => field = NullIfEmpty(value); }

    /// <summary>Password of <see cref="UserName"/>; required with it, refused without it. Default: none.</summary>
    [Redact]
    public string? Password { get; set => field = NullIfEmpty(value); }

    /// <summary>
    /// PEM file with the certificate authorities that etcd's server certificate must chain to; then the machine's own
    /// trust store is not consulted. Default: none, the machine's trust store decides. <c>https</c> endpoints only.
    /// </summary>
    public string? CaCertificateFile { get; set => field = NullIfEmpty(value); }

    /// <summary>PEM file with the client certificate for mutual TLS. Default: none. Needs <see cref="ClientKeyFile"/>.</summary>
    public string? ClientCertificateFile { get; set => field = NullIfEmpty(value); }

    /// <summary>PEM file with the private key of <see cref="ClientCertificateFile"/>. Default: none.</summary>
    public string? ClientKeyFile { get; set => field = NullIfEmpty(value); }

    /// <summary>
    /// The client certificate, with its private key, for mutual TLS, instead of the two files. Default: none.
    /// </summary>
    [Redact]
    public X509Certificate2? ClientCertificate { get; set; }

    /// <summary>
    /// The name that etcd's certificate must carry, where it is not the host of the endpoint (an address, a proxy).
    /// Default: none, the endpoint's host is checked.
    /// </summary>
    public string? ServerName { get; set => field = NullIfEmpty(value); }

    /// <summary>
    /// The longest that one attempt of a call may take. Default 5 s; 100 ms to 5 min. A call that times out on one
    /// member is tried on others where that is safe, and ends within twice this time. Where there are several members, a call that
    /// may be repeated and has had no answer for a fifth of it is sent to another member as well, after a tenth more to the
    /// next, and so on (0.5 s at least each); the first answer counts. A leader that dies takes with it what was sent on to it.
    /// </summary>
    public TimeSpan RequestTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// For how long a member may neither answer nor refuse before it is connected to anew, counted from the first call or
    /// stream that timed out on it. Default 2 s; 50 ms to 1 min.
    /// </summary>
    public TimeSpan ConnectTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// After this much silence on a connection in use an HTTP/2 ping is sent. Default 6 s; 6 s to 10 min (etcd closes
    /// connections that ping more often than every 5 s).
    /// </summary>
    public TimeSpan KeepAlivePingDelay { get; set; } = TimeSpan.FromSeconds(6);

    /// <summary>A connection whose ping is not answered within this time is closed. Default 3 s; 100 ms to 1 min.</summary>
    public TimeSpan KeepAlivePingTimeout { get; set; } = TimeSpan.FromSeconds(3);

    /// <summary>
    /// The longest wait between two attempts to connect to a member that is down. Default 1 s; 100 ms to 1 min.
    /// It bounds how long after an outage calls succeed again.
    /// </summary>
    public TimeSpan MaxReconnectBackoff { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// A watch without any message for this long asks etcd for its progress; three such periods without an answer
    /// reopen it on another member. Default 10 s; 100 ms to 10 min. A member that is frozen or no longer follows its
    /// leader is left sooner where there is another: one with watches on it is asked once a second, and has a fifth of
    /// <see cref="RequestTimeout"/> to answer, or two where something else comes from it and another member answers.
    /// </summary>
    public TimeSpan WatchProgressInterval { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>Splits a list of endpoints in one string at commas, semicolons and white space.</summary>
    /// <param name="endpoints">For example <c>http://a:2379,http://b:2379</c>.</param>
    /// <returns>The endpoints, in their order; empty for an empty string.</returns>
    public static IList<string> ParseEndpoints(string? endpoints) =>
        [.. (endpoints ?? string.Empty).Split([',', ';', ' ', '\t', '\r', '\n'], StringSplitOptions.RemoveEmptyEntries)];

    /// <summary>What a connection keeps, so that nobody's later change of the options is half seen.</summary>
    internal EtcdOptions Copy()
    {
        var copy = (EtcdOptions)MemberwiseClone();
        copy.Endpoints = [.. Endpoints];
        return copy;
    }

    // What configuration has for a value that is not set.
    private static string? NullIfEmpty(string? value) => string.IsNullOrEmpty(value) ? null : value;
}
