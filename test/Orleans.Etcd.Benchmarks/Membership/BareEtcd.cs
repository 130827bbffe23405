using dotnet_etcd;
using Etcdserverpb;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>The generated client over a plain channel, and the server's own count of requests.</summary>
internal sealed class BareEtcd : IDisposable
{
    private readonly EtcdServer _server;
    private readonly EtcdClient _client;

    public BareEtcd(EtcdServer server)
    {
        _server = server;
        // Without the larger window a range of 1,000 rows would lose for a reason that is not the library's doing.
        var handler = new SocketsHttpHandler { InitialHttp2StreamWindowSize = 4 * 1024 * 1024, UseProxy = false };
        _client = new EtcdClient(server.Endpoint.GetLeftPart(UriPartial.Authority), configureSslOptions: null, configureChannelOptions: channel =>
        {
            channel.HttpHandler = handler;
            channel.ServiceConfig = null;
            channel.MaxReceiveMessageSize = null;
        });
    }

    public KV.KVClient KV => _client.GetConnection().KVClient;

    public Lease.LeaseClient Leases => _client.GetConnection().LeaseClient;

    public Watch.WatchClient Watches => _client.GetConnection().WatchClient;

    /// <summary>How many requests of each gRPC method the server has taken so far.</summary>
    public async Task<Dictionary<string, double>> CountRequestsAsync(CancellationToken cancellationToken)
    {
        var counts = new Dictionary<string, double>();
        foreach (var line in (await _server.GetMetricsAsync(cancellationToken)).Split('\n'))
        {
            if (!line.StartsWith("grpc_server_started_total{", StringComparison.Ordinal))
                continue;
            var method = line.Split("grpc_method=\"")[1].Split('"')[0];
            var count = double.Parse(line[(line.LastIndexOf(' ') + 1)..], System.Globalization.CultureInfo.InvariantCulture);
            counts[method] = counts.GetValueOrDefault(method) + count;
        }

        return counts;
    }

    /// <summary>How much memory the server's process takes.</summary>
    public async Task<double> ResidentBytesAsync(CancellationToken cancellationToken)
    {
        const string name = "process_resident_memory_bytes ";
        var line = (await _server.GetMetricsAsync(cancellationToken)).Split('\n').First(line => line.StartsWith(name, StringComparison.Ordinal));
        return double.Parse(line[name.Length..], System.Globalization.CultureInfo.InvariantCulture);
    }

    public void Dispose() => _client.Dispose();
}
