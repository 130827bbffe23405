using System.Net.Security;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>A client of etcd's HTTP/JSON gateway that trusts and shows what a test gives it, and nothing else.</summary>
internal sealed class JsonGateway : IDisposable
{
    private readonly HttpClient _client;

    public JsonGateway(Uri endpoint, string? caCertificateFile = null, string? certificateFile = null, string? keyFile = null)
    {
        var options = new SslClientAuthenticationOptions();
        if (caCertificateFile is not null)
            options.CertificateChainPolicy = new X509ChainPolicy
            {
                TrustMode = X509ChainTrustMode.CustomRootTrust,
                RevocationMode = X509RevocationMode.NoCheck,
                CustomTrustStore = { X509Certificate2.CreateFromPem(File.ReadAllText(caCertificateFile)) },
            };
        if (certificateFile is not null)
            options.ClientCertificateContext = SslStreamCertificateContext.Create(
                X509Certificate2.CreateFromPemFile(certificateFile, keyFile), null, offline: true);
        var handler = new SocketsHttpHandler { UseProxy = false, SslOptions = options };
        _client = new HttpClient(handler) { BaseAddress = endpoint, Timeout = TimeSpan.FromSeconds(20) };
    }

    public Task<string> VersionAsync() => _client.GetStringAsync("/version");

    public Task PutAsync(string key, string value, string? token = null, CancellationToken cancellationToken = default) =>
        PostAsync("/v3/kv/put", new() { ["key"] = Encode(key), ["value"] = Encode(value) }, token, cancellationToken);

    /// <summary>Raises or clears the alarm of a server that is out of space: it answers reads and takes no writes.</summary>
    public Task SetNoSpaceAsync(bool raised) =>
        PostAsync("/v3/maintenance/alarm", new() { ["action"] = raised ? "ACTIVATE" : "DEACTIVATE", ["alarm"] = "NOSPACE" }, null, default);

    public async Task<string?> GetAsync(string key, string? token = null, CancellationToken cancellationToken = default)
    {
        var answer = await PostAsync("/v3/kv/range", new() { ["key"] = Encode(key) }, token, cancellationToken);
        var value = answer["kvs"]?[0]?["value"]?.GetValue<string>();
        return value is null ? null : Encoding.UTF8.GetString(Convert.FromBase64String(value));
    }

    public async Task<string> AuthenticateAsync(string userName, string password)
    {
        var answer = await PostAsync("/v3/auth/authenticate", new() { ["name"] = userName, ["password"] = password }, null, default);
        return answer["token"]!.GetValue<string>();
    }

    public void Dispose() => _client.Dispose();

    private static string Encode(string text) => Convert.ToBase64String(Encoding.UTF8.GetBytes(text));

    private async Task<JsonNode> PostAsync(string path, JsonObject body, string? token, CancellationToken cancellationToken)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path)
        {
            Content = new StringContent(body.ToJsonString(), Encoding.UTF8, "application/json"),
        };
        if (token is not null) request.Headers.TryAddWithoutValidation("Authorization", token);
        using var response = await _client.SendAsync(request, cancellationToken);
        var text = await response.Content.ReadAsStringAsync(cancellationToken);
        if (!response.IsSuccessStatusCode) throw new HttpRequestException(text, null, response.StatusCode);
        return JsonNode.Parse(text)!;
    }
}
