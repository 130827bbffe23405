using System.Net;
using System.Net.Http.Headers;
using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Orleans.Etcd.Testing;

/// <summary>etcd's HTTP/JSON gateway: enough for readiness and administration, without a gRPC dependency.</summary>
internal sealed class EtcdGateway : IDisposable
{
    private static readonly TimeSpan RequestTimeout = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan RetryInterval = TimeSpan.FromMilliseconds(50);
    private readonly Uri _endpoint;
    private readonly HttpClient _client;
    private readonly List<X509Certificate2> _certificates = [];
    private string? _userName;
    private string? _password;
    private volatile string? _token;

    public EtcdGateway(Uri endpoint, EtcdCertificates? certificates, bool mutual)
    {
        _endpoint = endpoint;
        var handler = new SocketsHttpHandler { UseProxy = false, ConnectTimeout = RequestTimeout };
        if (certificates is not null) handler.SslOptions = SslOptions(certificates, mutual);
        _client = new HttpClient(handler) { Timeout = Timeout.InfiniteTimeSpan };
        // A pooled connection would not survive the next restart, and would hold up a graceful stop.
        _client.DefaultRequestHeaders.ConnectionClose = true;
        // Without an Accept header etcd would not recognise the gateway, and take the server certificate for a user's.
        _client.DefaultRequestHeaders.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
        _client.DefaultRequestHeaders.Accept.Add(new MediaTypeWithQualityHeaderValue("*/*", 0.5));
    }

    /// <summary>From now on requests carry a token of this user.</summary>
    public void Authenticate(string userName, string password) => (_userName, _password, _token) = (userName, password, null);

    /// <summary>Sends one request of the JSON gateway.</summary>
    /// <exception cref="EtcdServerException">etcd refused it, or could not be reached.</exception>
    /// <exception cref="TimeoutException">etcd did not answer.</exception>
    public async Task<JsonNode> PostAsync(string path, JsonObject body, CancellationToken cancellationToken)
    {
        var target = new Uri(_endpoint, path);
        var (status, text) = await PostOnceAsync(target, body, cancellationToken).ConfigureAwait(false);
        if (status != HttpStatusCode.OK && _token is not null && text.Contains("invalid auth token", StringComparison.Ordinal))
        {
            // Tokens expire, and are forgotten by a server that restarts.
            _token = null;
            (status, text) = await PostOnceAsync(target, body, cancellationToken).ConfigureAwait(false);
        }

        return status == HttpStatusCode.OK ? Parse(target, text) : throw Refused(target, status, text);
    }

    /// <summary>As <see cref="PostAsync"/>, for a request that can be repeated: an election is waited for.</summary>
    public async Task<JsonNode> ReadAsync(string path, JsonObject body, CancellationToken cancellationToken)
    {
        for (var start = Environment.TickCount64; ;)
        {
            try
            {
                return await PostAsync(path, body, cancellationToken).ConfigureAwait(false);
            }
            catch (EtcdServerException exception)
                when (exception.Transient && Environment.TickCount64 - start < RequestTimeout.TotalMilliseconds)
            {
                await Task.Delay(RetryInterval, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    /// <summary>Reads a plain page such as <c>/metrics</c>, whatever its status code.</summary>
    public async Task<string> GetAsync(Uri target, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, target);
        return (await SendAsync(request, cancellationToken).ConfigureAwait(false)).Text;
    }

    public void Dispose()
    {
        _client.Dispose();
        foreach (var certificate in _certificates) certificate.Dispose();
    }

    private async Task<(HttpStatusCode Status, string Text)> PostOnceAsync(Uri target, JsonObject body, CancellationToken cancellationToken)
    {
        if (_userName is not null && _token is null)
            _token = await AskTokenAsync(cancellationToken).ConfigureAwait(false);
        using var request = new HttpRequestMessage(HttpMethod.Post, target) { Content = Json(body) };
        if (_token is not null) request.Headers.TryAddWithoutValidation("Authorization", _token);
        return await SendAsync(request, cancellationToken).ConfigureAwait(false);
    }

    private async Task<string> AskTokenAsync(CancellationToken cancellationToken)
    {
        var target = new Uri(_endpoint, "/v3/auth/authenticate");
        using var request = new HttpRequestMessage(HttpMethod.Post, target)
        {
            Content = Json(new JsonObject { ["name"] = _userName, ["password"] = _password }),
        };
        var (status, text) = await SendAsync(request, cancellationToken).ConfigureAwait(false);
        if (status != HttpStatusCode.OK) throw Refused(target, status, text);
        return Parse(target, text)["token"]?.GetValue<string>() ?? throw Refused(target, status, text);
    }

    private async Task<(HttpStatusCode Status, string Text)> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(RequestTimeout);
        try
        {
            using var response = await _client.SendAsync(request, limit.Token).ConfigureAwait(false);
            return (response.StatusCode, await response.Content.ReadAsStringAsync(limit.Token).ConfigureAwait(false));
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new TimeoutException(
                $"etcd did not answer {request.Method} {request.RequestUri} within {RequestTimeout.TotalSeconds:0} s.", exception);
        }
        catch (HttpRequestException exception)
        {
            throw new EtcdServerException($"{request.Method} {request.RequestUri} failed: {exception.Message}", exception);
        }
    }

    private static StringContent Json(JsonObject body) => new(body.ToJsonString(), Encoding.UTF8, "application/json");

    private static JsonNode Parse(Uri target, string text)
    {
        try
        {
            return JsonNode.Parse(text) ?? throw Refused(target, HttpStatusCode.OK, text);
        }
        catch (JsonException)
        {
            throw Refused(target, HttpStatusCode.OK, text);
        }
    }

    private static EtcdServerException Refused(Uri target, HttpStatusCode status, string text) =>
        new($"etcd answered POST {target} with {(int)status}: {text.Trim()}")
        {
            Transient = status == HttpStatusCode.ServiceUnavailable,
        };

    private SslClientAuthenticationOptions SslOptions(EtcdCertificates certificates, bool mutual)
    {
        var authority = X509Certificate2.CreateFromPem(File.ReadAllText(certificates.CaCertificateFile));
        _certificates.Add(authority);
        var options = new SslClientAuthenticationOptions
        {
            CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                CustomTrustStore = { authority },
            },
        };
        if (mutual)
        {
            // Not the client's: with authentication enabled the gateway refuses every certificate that has a common name.
            var client = X509Certificate2.CreateFromPemFile(certificates.ServerCertificateFile, certificates.ServerKeyFile);
            _certificates.Add(client);
            options.ClientCertificateContext = SslStreamCertificateContext.Create(client, null, offline: true);
        }

        return options;
    }
}
