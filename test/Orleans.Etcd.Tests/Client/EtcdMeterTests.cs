using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

public sealed class EtcdMeterTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>
{
    // A counter belongs to the process, and other tests count at the same time: only an operation of this test's own
    // context is taken.
    private static readonly AsyncLocal<bool> Mine = new();

    [Fact]
    public async Task Meter_CallsAndFailures_AreCountedByOperation()
    {
        var counted = new ConcurrentQueue<(string Instrument, string Tags)>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, me) =>
        {
            if (instrument.Meter.Name == "Orleans.Etcd")
                me.EnableMeasurementEvents(instrument);
        };
        void Note(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags)
        {
            if (Mine.Value)
                counted.Enqueue((instrument.Name, string.Join(',', tags.ToArray().Select(tag => $"{tag.Key}={tag.Value}"))));
        }

        listener.SetMeasurementEventCallback<long>((instrument, _, tags, _) => Note(instrument, tags));
        listener.SetMeasurementEventCallback<double>((instrument, _, tags, _) => Note(instrument, tags));
        listener.Start();

        Mine.Value = true;
        await using var etcd = shared.Server.Connect();
        await etcd.PutAsync("metered", "1");
        await etcd.GetAsync("metered");
        await Assert.ThrowsAsync<EtcdException>(() => etcd.PutAsync("", "1"));
        Mine.Value = false;

        Assert.Equal(2, counted.Count(entry => entry == ("orleans.etcd.requests", "operation=Put")));
        Assert.Equal(1, counted.Count(entry => entry == ("orleans.etcd.requests", "operation=Range")));
        Assert.Equal(1, counted.Count(entry => entry == ("orleans.etcd.request.errors", "operation=Put,error=InvalidRequest")));
        Assert.Equal(1, counted.Count(entry => entry == ("orleans.etcd.request.duration", "operation=Put,outcome=ok")));
        Assert.Equal(1, counted.Count(entry => entry == ("orleans.etcd.request.duration", "operation=Put,outcome=InvalidRequest")));
    }
}
