using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Mvccpb;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests;

/// <summary>Connections to the servers of a test, and requests in the words of a test.</summary>
internal static class Connections
{
    public static EtcdOptions Options(this EtcdServer server, Uri? through = null)
    {
        var options = new EtcdOptions();
        server.Configure(options, through);
        return options;
    }

    /// <summary>Sets all that it takes to reach the server.</summary>
    public static void Configure(this EtcdServer server, EtcdOptions options, Uri? through = null)
    {
        options.Endpoints = [(through ?? server.Endpoint).ToString()];
        options.UserName = server.UserName;
        options.Password = server.Password;
        options.CaCertificateFile = server.CaCertificateFile;
        options.ClientCertificateFile = server.ClientCertificateFile;
        options.ClientKeyFile = server.ClientKeyFile;
    }

    public static EtcdConnection Connect(this EtcdServer server, Action<EtcdOptions>? configure = null, Uri? through = null, TimeProvider? time = null)
    {
        var options = server.Options(through);
        configure?.Invoke(options);
        return new EtcdConnection(options, timeProvider: time);
    }

    public static EtcdConnection Connect(this EtcdCluster cluster, Action<EtcdOptions>? configure = null)
    {
        var options = cluster.Members[0].Options();
        options.Endpoints = [.. cluster.Endpoints.Select(endpoint => endpoint.ToString())];
        configure?.Invoke(options);
        return new EtcdConnection(options);
    }

    public static EtcdConnection Connect(params Uri[] endpoints) => Connect(TimeSpan.FromSeconds(5), endpoints);

    public static EtcdConnection Connect(TimeSpan requestTimeout, params Uri[] endpoints) => new(new EtcdOptions
    {
        Endpoints = [.. endpoints.Select(endpoint => endpoint.ToString())],
        RequestTimeout = requestTimeout,
    });

    /// <summary>A cluster's membership table, not yet initialised, with Orleans' default options where none are given.</summary>
    public static EtcdMembershipTable Table(this EtcdConnection etcd, ClusterOptions cluster, ClusterMembershipOptions? membership = null, ILogger<EtcdMembershipTable>? logger = null) => new(
        etcd,
        Microsoft.Extensions.Options.Options.Create(cluster),
        Microsoft.Extensions.Options.Options.Create(membership ?? new ClusterMembershipOptions()),
        logger ?? NullLogger<EtcdMembershipTable>.Instance);

    public static Task<PutResponse> PutAsync(this EtcdConnection etcd, string key, string value, long lease = 0, CancellationToken cancellationToken = default) =>
        etcd.PutAsync(new PutRequest { Key = Bytes(key), Value = Bytes(value), Lease = lease }, cancellationToken);

    public static Task<DeleteRangeResponse> DeleteAsync(this EtcdConnection etcd, string key) =>
        etcd.DeleteRangeAsync(new DeleteRangeRequest { Key = Bytes(key) });

    public static async Task<KeyValue?> GetAsync(this EtcdConnection etcd, string key, CancellationToken cancellationToken = default) =>
        (await etcd.RangeAsync(new RangeRequest { Key = Bytes(key) }, cancellationToken)).Kvs.SingleOrDefault();

    public static ByteString Bytes(string text) => ByteString.CopyFromUtf8(text);
}
