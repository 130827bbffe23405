namespace Orleans.Etcd.Benchmarks;

/// <summary>GetGateways, which asks nobody, beside a bare range of the rows and the lists of Orleans' other providers.</summary>
internal sealed class GatewayReads(Contest contest, BareEtcd bare, EtcdConnection etcd, PeerStores stores)
{
    private const int Gateways = 100;
    private const double LimitMicroseconds = 10;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, "gateways");
        await cluster.FillAsync(Gateways, cancellationToken);
        await using var list = cluster.OpenGateways();
        var peers = await stores.OpenAsync("gateways", cancellationToken);
        try
        {
            var others = new List<Contender> { new("bare range of the rows", async () => await bare.KV.RangeAsync(cluster.Layout.Range)) };
            foreach (var peer in peers)
            {
                await peer.FillAsync(Gateways, cancellationToken);
                others.Add(await peer.GatewaysAsync(Gateways));
            }

            var ours = new Contender("GetGateways", async () =>
            {
                if ((await list.GetGatewaysAsync()).Count != Gateways)
                    throw new InvalidOperationException($"GetGateways did not answer all {Gateways} gateways.");
            });
            var figures = await contest.CompareAsync($"GetGateways {Gateways}", 200, ours, [.. others], cancellationToken);
            var microseconds = figures[0].OursMedian * 1000;
            await contest.RatesAsync(
                $"GetGateways {Gateways}, {Crowd.Usual} in flight", Crowd.Of(ours), [.. others.Select(other => Crowd.Of(other))], cancellationToken);
            contest.Report.Goal($"GetGateways of {Gateways}: under {LimitMicroseconds} µs", microseconds < LimitMicroseconds, FormattableString.Invariant($"{microseconds:0.##} µs"));
        }
        finally
        {
            foreach (var peer in peers)
                await peer.DisposeAsync();
        }
    }
}
