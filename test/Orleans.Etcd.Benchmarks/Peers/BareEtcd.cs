using System.Globalization;
using Etcdserverpb;
using Google.Protobuf;
using Grpc.Net.Client;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>The generated clients over a plain channel with the flow control window of ours, and the server's own figures.</summary>
internal sealed class BareEtcd : IDisposable
{
    private readonly EtcdServer _server;
    private readonly GrpcChannel _channel;

    public BareEtcd(EtcdServer server)
    {
        _server = server;
        // Without the larger window a range of 1,000 rows would lose for a reason that is not the library's doing.
        var handler = new SocketsHttpHandler { InitialHttp2StreamWindowSize = 4 * 1024 * 1024, EnableMultipleHttp2Connections = true, UseProxy = false };
        _channel = GrpcChannel.ForAddress(server.Endpoint, new GrpcChannelOptions { HttpHandler = handler, DisposeHttpClient = true, MaxReceiveMessageSize = null });
        (KV, Leases, Watches) = (new KV.KVClient(_channel), new Lease.LeaseClient(_channel), new Watch.WatchClient(_channel));
    }

    public KV.KVClient KV { get; }

    public Lease.LeaseClient Leases { get; }

    public Watch.WatchClient Watches { get; }

    public Task PutAsync(string key, string value) =>
        KV.PutAsync(new PutRequest { Key = ByteString.CopyFromUtf8(key), Value = ByteString.CopyFromUtf8(value) }).ResponseAsync;

    /// <summary>How many requests of each gRPC method the server has taken so far.</summary>
    private async Task<Dictionary<string, double>> CountRequestsAsync(CancellationToken cancellationToken)
    {
        var counts = new Dictionary<string, double>();
        foreach (var (name, value) in await MetricsAsync("grpc_server_started_total{", cancellationToken))
        {
            var method = name.Split("grpc_method=\"")[1].Split('"')[0];
            counts[method] = counts.GetValueOrDefault(method) + value;
        }

        return counts;
    }

    /// <summary>The requests that the server took while something was done; what else sends any meanwhile is among them.</summary>
    public async Task<IReadOnlyList<(string Method, double Count)>> CountRequestsOfAsync(Func<Task> operation, CancellationToken cancellationToken)
    {
        var before = await CountRequestsAsync(cancellationToken);
        await operation();
        var after = await CountRequestsAsync(cancellationToken);
        return [.. after.Select(pair => (pair.Key, pair.Value - before.GetValueOrDefault(pair.Key))).Where(pair => pair.Item2 > 0)];
    }

    /// <summary>How much memory the server's process takes, its mapped database included.</summary>
    public async Task<double> ResidentBytesAsync(CancellationToken cancellationToken) =>
        (await MetricsAsync("process_resident_memory_bytes ", cancellationToken)).Single().Value;

    public void Dispose() => _channel.Dispose();

    private async Task<IReadOnlyList<(string Name, double Value)>> MetricsAsync(string beginning, CancellationToken cancellationToken) =>
    [
        .. (await _server.GetMetricsAsync(cancellationToken)).Split('\n')
            .Where(line => line.StartsWith(beginning, StringComparison.Ordinal))
            .Select(line => (line, double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture))),
    ];
}
