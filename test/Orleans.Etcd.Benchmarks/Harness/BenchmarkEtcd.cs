using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>The etcd that is measured: one member with its data on disk, and room for what full rounds write.</summary>
internal static class BenchmarkEtcd
{
    // 2 GiB by default, which holds all revisions of a run only just.
    private const long QuotaBytes = 8L * 1024 * 1024 * 1024;

    public static Task<EtcdServer> StartAsync(CancellationToken cancellationToken)
    {
        var options = new EtcdServerOptions { BinaryPath = Repository.Etcd(), DataDirectory = Repository.Data() };
        options.ExtraArguments.Add($"--quota-backend-bytes={QuotaBytes}");
        return EtcdServer.StartAsync(options, cancellationToken);
    }

    public static EtcdConnection Connect(EtcdServer server) => new(new EtcdOptions { Endpoints = { server.Endpoint.ToString() } });
}
