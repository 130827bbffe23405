using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd.Benchmarks;

/// <summary>GetGateways, which asks nobody: its time and its allocations, against nothing.</summary>
internal sealed class GatewayReads(Contest contest, BareEtcd bare, EtcdConnection etcd)
{
    private const int Gateways = 100;
    private const double LimitMicroseconds = 10;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, "gateways");
        await cluster.FillAsync(Gateways, cancellationToken);
        await using var list = new EtcdGatewayListProvider(etcd, Options.Create(cluster.Cluster), Options.Create(new GatewayOptions()), NullLogger<EtcdGatewayListProvider>.Instance);
        var calls = contest.Settings.Operations(20_000);
        await MeasureAsync(list, calls);
        var microseconds = new List<double>();
        var bytes = new List<double>();
        for (var round = 0; round < contest.Settings.Rounds; round++)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var (time, allocated) = await MeasureAsync(list, calls);
            microseconds.Add(time);
            bytes.Add(allocated);
        }

        var figure = contest.Add($"GetGateways {Gateways}", "us", "GetGateways", null, microseconds, []);
        contest.Add($"GetGateways {Gateways}", "bytes", "GetGateways", null, bytes, []);
        contest.Report.Goal($"GetGateways of {Gateways}: under {LimitMicroseconds} µs", figure.OursMedian < LimitMicroseconds, FormattableString.Invariant($"{figure.OursMedian:0.##} µs"));
    }

    private static async Task<(double Microseconds, double Bytes)> MeasureAsync(EtcdGatewayListProvider list, int calls)
    {
        if ((await list.GetGatewaysAsync()).Count != Gateways)
            throw new InvalidOperationException($"GetGateways did not answer all {Gateways} gateways.");
        // Nothing below leaves this thread: the list is known, so each call has completed when it returns.
        var allocated = GC.GetAllocatedBytesForCurrentThread();
        var started = Stopwatch.GetTimestamp();
        for (var call = 0; call < calls; call++)
            list.GetGatewaysAsync().GetAwaiter().GetResult();
        var elapsed = Stopwatch.GetElapsedTime(started);
        return (elapsed.TotalMicroseconds / calls, (double)(GC.GetAllocatedBytesForCurrentThread() - allocated) / calls);
    }
}
