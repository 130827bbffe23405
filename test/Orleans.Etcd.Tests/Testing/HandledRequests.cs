using System.Globalization;
using System.Text.RegularExpressions;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>What a server was asked, counted by itself.</summary>
internal static partial class HandledRequests
{
    /// <summary>Unary requests of all services, by method.</summary>
    public static async Task<IReadOnlyDictionary<string, long>> HandledAsync(this EtcdServer server) => Handled().Matches(await server.GetMetricsAsync())
        .GroupBy(match => match.Groups[1].Value)
        .ToDictionary(group => group.Key, group => group.Sum(match => long.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture)));

    [GeneratedRegex("""^grpc_server_handled_total\{[^}]*grpc_method="(\w+)"[^}]*grpc_type="unary"\} (\d+)""", RegexOptions.Multiline)]
    private static partial Regex Handled();
}
