using System.Collections.Concurrent;
using System.Diagnostics.Metrics;

namespace Orleans.Etcd.Benchmarks;

/// <summary>How many requests to etcd an uncontended lock costs, by our own meter, which counts those of the silo and of the client.</summary>
internal sealed class LockRequests(Contest contest, LockHost host)
{
    private const int Times = 20;

    public async Task RunAsync()
    {
        foreach (var peer in new[] { host.Silo, host.Client })
            await CountAsync(peer);
    }

    private async Task CountAsync(LockPeer peer)
    {
        var requests = new ConcurrentQueue<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, me) =>
        {
            if (instrument is { Meter.Name: "Orleans.Etcd", Name: "orleans.etcd.requests" })
                me.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, _, tags, _) => requests.Enqueue($"{tags[0].Value}"));
        listener.Start();

        var acquire = await peer.OpenAsync();
        List<string[]> acquired = [], released = [];
        for (var time = 0; time < Times; time++)
        {
            requests.Clear();
            var held = await acquire("counted");
            acquired.Add([.. requests]);
            requests.Clear();
            await held.DisposeAsync();
            released.Add([.. requests]);
        }

        Show("acquire", peer, acquired);
        Show("release", peer, released);
    }

    private void Show(string what, LockPeer peer, List<string[]> found)
    {
        var figure = contest.Add("requests", what, peer.Name, null, [.. found.Select(requests => (double)requests.Length)], []);
        // Some other request of the silo, such as a heartbeat, may fall into one of them.
        var met = figure.OursMedian == 1 && found.TrueForAll(requests => requests.Count(request => request == "Txn") == 1);
        var kinds = found.Select(requests => string.Join(" + ", requests.Order())).GroupBy(kind => kind).Select(kind => $"{kind.Key} ({kind.Count()} times)");
        contest.Report.CountGoal($"requests of an uncontended {what}, {peer.Name}: 1 Txn", met, string.Join("; ", kinds));
    }
}
