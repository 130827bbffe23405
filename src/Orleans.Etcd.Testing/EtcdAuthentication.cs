using System.Text.Json.Nodes;

namespace Orleans.Etcd.Testing;

/// <summary>Turns authentication on, once for all members of a cluster, and makes their gateways use it.</summary>
internal sealed class EtcdAuthentication(string userName, string password)
{
    private const string Root = "root";
    private readonly SemaphoreSlim _gate = new(1, 1);
    private bool _enabled;

    public async Task EnsureAsync(EtcdGateway gateway, CancellationToken cancellationToken)
    {
        await _gate.WaitAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            if (!_enabled) await EnableAsync(gateway, cancellationToken).ConfigureAwait(false);
            _enabled = true;
        }
        finally
        {
            _gate.Release();
        }

        gateway.Authenticate(userName, password);
    }

    // etcd enables authentication only once a user named root holds the role root.
    private async Task EnableAsync(EtcdGateway gateway, CancellationToken cancellationToken)
    {
        await AddAsync(gateway, "/v3/auth/role/add", new() { ["name"] = Root }, cancellationToken).ConfigureAwait(false);
        string[] users = userName == Root ? [Root] : [Root, userName];
        foreach (var user in users)
        {
            await AddAsync(gateway, "/v3/auth/user/add", new() { ["name"] = user, ["password"] = password }, cancellationToken).ConfigureAwait(false);
            await gateway.PostAsync("/v3/auth/user/grant", new() { ["user"] = user, ["role"] = Root }, cancellationToken).ConfigureAwait(false);
        }

        await gateway.PostAsync("/v3/auth/enable", [], cancellationToken).ConfigureAwait(false);
    }

    private static async Task AddAsync(EtcdGateway gateway, string path, JsonObject body, CancellationToken cancellationToken)
    {
        try
        {
            await gateway.PostAsync(path, body, cancellationToken).ConfigureAwait(false);
        }
        catch (EtcdServerException exception) when (exception.Message.Contains("already exists", StringComparison.Ordinal))
        {
            // Added by an attempt that failed later.
        }
    }
}
