using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using dotnet_etcd;
using dotnet_etcd.interfaces;
using Grpc.Net.Client.Configuration;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// One etcd member and the channel to it. A channel of its own, because a member that is frozen still accepts
/// connections and would stay in a shared channel's rotation.
/// </summary>
internal sealed class EtcdEndpoint : IDisposable
{
    // A range of 1,000 keys is half as fast again as with the default window.
    private const int StreamWindowSize = 4 * 1024 * 1024;

    private readonly EtcdOptions _options;
    private readonly SslClientAuthenticationOptions? _tls;
    private readonly CancellationTokenSource _stop = new();
    private EtcdClient _client;
    private CancellationTokenSource _suspected = new();
    private long _lastSign;
    private int _streams;

    public EtcdEndpoint(Uri address, EtcdOptions options)
    {
        Address = address;
        _options = options;
        // Once: a file that is gone by the time of another connection is no reason for a call to fail.
        _tls = address.Scheme == Uri.UriSchemeHttps ? TlsOptions(options) : null;
        _client = Connect();
    }

    public Uri Address { get; }

    public IConnection Connection => Volatile.Read(ref _client).GetConnection();

    /// <summary>Cancelled when a call on this member hung, or it did not answer a probe: streams on it move to another one instead of waiting.</summary>
    public CancellationToken Suspected => Volatile.Read(ref _suspected).Token;

    /// <summary>When it last failed, by the pool's clock; zero if it never did. Guarded by the pool's lock.</summary>
    public long LastFailure { get; set; }

    /// <summary>Whether that failure was silence rather than a refusal. Guarded by the pool's lock.</summary>
    public bool Hung { get; set; }

    /// <summary>When it last answered first after a failure, or after a while without an answer from any, by the pool's clock; zero if it never did. Guarded by the pool's lock.</summary>
    public long LastRecovery { get; set; }

    /// <summary>Whether nothing has succeeded on it since it failed. Guarded by the pool's lock.</summary>
    public bool Failing { get; set; }

    /// <summary>When it first kept silent since it last answered or refused, by the pool's clock; zero if it has not. Guarded by the pool's lock.</summary>
    public long SilentSince { get; set; }

    /// <summary>When something last came from it, by the pool's clock.</summary>
    public long LastSign
    {
        get => Volatile.Read(ref _lastSign);
        set => Volatile.Write(ref _lastSign, value);
    }

    /// <summary>How many streams are open on it.</summary>
    public int Streams => Volatile.Read(ref _streams);

    /// <summary>Whether it is being asked whether it is still there and follows its leader. Guarded by the pool's lock.</summary>
    public bool Probed { get; set; }

    /// <summary>When that was last over, by the pool's clock; null if it was never asked. Guarded by the pool's lock.</summary>
    public long? LastProbe { get; set; }

    public void StreamOpened() => Interlocked.Increment(ref _streams);

    public void StreamClosed() => Interlocked.Decrement(ref _streams);

    /// <summary>
    /// Makes a channel in place of this one, for what is sent from now on. What is under way on the old one may still be
    /// answered; streams on it end.
    /// </summary>
    public void Reconnect()
    {
        var old = Interlocked.Exchange(ref _client, Connect());
        Suspect();
        if (_stop.IsCancellationRequested)
            Volatile.Read(ref _client).Dispose();
        _ = Detached.Run(async () =>
        {
            await Task.Delay(_options.RequestTimeout * 2, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            old.Dispose();
        });
    }

    public void Suspect()
    {
        // Not disposed: a stream may be linking to it at this moment, and without a timer it holds nothing.
        Interlocked.Exchange(ref _suspected, new CancellationTokenSource()).Cancel();
    }

    public void Dispose()
    {
        _stop.Cancel();
        _client.Dispose();
        _suspected.Dispose();
    }

    private EtcdClient Connect()
    {
        var handler = new SocketsHttpHandler
        {
            // Not ConnectTimeout: gRPC takes it for the time in which a channel has to connect, refusals and pauses included,
            // and where it ends while others ask for a connection the channel may stay "connecting" for good, with nobody
            // left who would connect (seen with 2.85.0). A member that keeps silent is given another channel instead.
            ConnectTimeout = Timeout.InfiniteTimeSpan,
            KeepAlivePingDelay = _options.KeepAlivePingDelay,
            KeepAlivePingTimeout = _options.KeepAlivePingTimeout,
            KeepAlivePingPolicy = HttpKeepAlivePingPolicy.WithActiveRequests,
            EnableMultipleHttp2Connections = true,
            InitialHttp2StreamWindowSize = StreamWindowSize,
            PooledConnectionIdleTimeout = Timeout.InfiniteTimeSpan,
            UseProxy = false,
        };
        if (_tls is not null)
            handler.SslOptions = _tls;

        // dotnet-etcd speaks plain text to https endpoints unless this constructor is given a TLS callback.
        Action<SslClientAuthenticationOptions>? tls = _tls is not null ? static _ => { } : null;
        return new EtcdClient(Address.GetLeftPart(UriPartial.Authority), tls, configureChannelOptions: channel =>
        {
            channel.HttpHandler = handler;
            // Retries are ours: the default policy re-applies writes.
            channel.ServiceConfig = new ServiceConfig { LoadBalancingConfigs = { new RoundRobinConfig() } };
            channel.InitialReconnectBackoff = TimeSpan.FromMilliseconds(Math.Min(250, _options.MaxReconnectBackoff.TotalMilliseconds));
            channel.MaxReconnectBackoff = _options.MaxReconnectBackoff;
            channel.MaxReceiveMessageSize = null;
            channel.ThrowOperationCanceledOnCancellation = false;
        });
    }

    private static SslClientAuthenticationOptions TlsOptions(EtcdOptions options)
    {
        var tls = new SslClientAuthenticationOptions();
        if (options.CaCertificateFile is not null)
        {
            var policy = new X509ChainPolicy { TrustMode = X509ChainTrustMode.CustomRootTrust, RevocationMode = X509RevocationMode.NoCheck };
            policy.CustomTrustStore.ImportFromPemFile(options.CaCertificateFile);
            tls.CertificateChainPolicy = policy;
        }

        var certificate = options.ClientCertificate;
        // Those of the authorities in between follow it in the file, and etcd may know none but the root.
        var others = new X509Certificate2Collection();
        if (options.ClientCertificateFile is not null)
        {
            certificate = Usable(X509Certificate2.CreateFromPemFile(options.ClientCertificateFile, options.ClientKeyFile));
            others.ImportFromPemFile(options.ClientCertificateFile);
        }

        if (certificate is not null)
            tls.ClientCertificateContext = SslStreamCertificateContext.Create(certificate, others, offline: true);

        if (options.ServerName is { } name)
        {
            // dotnet-etcd ignores TargetHost, so a mismatch with the endpoint's host is forgiven when this name matches.
            tls.RemoteCertificateValidationCallback = (_, remote, _, errors) =>
                (errors & ~SslPolicyErrors.RemoteCertificateNameMismatch) == SslPolicyErrors.None
                && remote is X509Certificate2 presented
                && presented.MatchesHostname(name, allowWildcards: true, allowCommonName: false);
        }

        return tls;
    }

    private static X509Certificate2 Usable(X509Certificate2 fromPem)
    {
        if (!OperatingSystem.IsWindows())
            return fromPem;
        // Windows' TLS cannot use the ephemeral keys that PEM files give.
        using (fromPem)
#if NET9_0_OR_GREATER
            return X509CertificateLoader.LoadPkcs12(fromPem.Export(X509ContentType.Pkcs12), password: null);
#else
            return new X509Certificate2(fromPem.Export(X509ContentType.Pkcs12));
#endif
    }
}
