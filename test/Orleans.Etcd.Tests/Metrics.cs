using System.Globalization;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests;

/// <summary>The server's own counters.</summary>
internal static class Metrics
{
    /// <summary>The sum of all series of a metric whose labels contain a text.</summary>
    public static async Task<long> ReadAsync(EtcdServer server, string metric, string label)
    {
        var page = await server.GetMetricsAsync();
        return page.Split('\n')
            .Where(line => line.StartsWith(metric, StringComparison.Ordinal) && line.Contains(label, StringComparison.Ordinal))
            .Sum(line => (long)double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));
    }
}
