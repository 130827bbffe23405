using System.Reflection;
using System.Runtime.InteropServices;
using System.Text.Json.Serialization;
using Medallion.Threading.Postgres;
using Medallion.Threading.Redis;
using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Where and of what something was measured.</summary>
internal sealed record RunContext(
    [property: JsonPropertyName("date")] DateOnly Date,
    [property: JsonPropertyName("machine")] string Machine,
    [property: JsonPropertyName("versions")] IReadOnlyDictionary<string, string> Versions)
{
    public static async Task<RunContext> ReadAsync(CancellationToken cancellationToken)
    {
        var versions = new Dictionary<string, string>
        {
            ["Orleans.Etcd"] = PackageVersion(typeof(EtcdConnection)),
            ["dotnet-etcd"] = PackageVersion(typeof(dotnet_etcd.EtcdClient)),
            [".NET"] = Environment.Version.ToString(),
            ["Orleans"] = PackageVersion(typeof(Grain)),
            ["etcd, one member"] = await ToolOutput.VersionAsync(Repository.Etcd(), cancellationToken),
        };
        if (RedisServer.Binary is { } redis)
        {
            versions["Redis"] = await ToolOutput.VersionAsync(redis, cancellationToken);
            versions["Microsoft.Orleans.Clustering.Redis"] = PackageVersion(typeof(RedisClusteringISiloBuilderExtensions));
            versions["DistributedLock.Redis"] = PackageVersion(typeof(RedisDistributedLock));
        }

        if (PostgresServer.Binaries is { } postgres)
        {
            versions["PostgreSQL"] = await ToolOutput.VersionAsync(Path.Combine(postgres, "postgres"), cancellationToken);
            versions["Microsoft.Orleans.Clustering.AdoNet"] = PackageVersion(typeof(AdoNetHostingExtensions));
            versions["DistributedLock.Postgres"] = PackageVersion(typeof(PostgresDistributedLock));
        }

        return new RunContext(DateOnly.FromDateTime(DateTime.UtcNow), Describe(), versions);
    }

    private static string PackageVersion(Type type)
    {
        var version = type.Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()?.InformationalVersion ?? "?";
        return version.Split('+', ' ')[0].TrimEnd('.');
    }

    private static string Describe()
    {
        const string model = "model name";
        var processor = File.Exists("/proc/cpuinfo")
            ? File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith(model, StringComparison.Ordinal))?.Split(':')[1].Trim()
            : null;
        var gibibytes = GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / (1024.0 * 1024 * 1024);
        return FormattableString.Invariant($"{Environment.ProcessorCount} cores ({processor ?? RuntimeInformation.ProcessArchitecture.ToString()}), {gibibytes:0} GiB, {RuntimeInformation.OSDescription.Trim()}");
    }
}
