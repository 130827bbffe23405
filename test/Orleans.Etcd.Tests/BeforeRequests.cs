using System.Diagnostics.Metrics;

namespace Orleans.Etcd.Tests;

/// <summary>
/// Runs something right before each attempt of a request, so that a fault can hit exactly one: attempts are counted on the
/// thread that sends them. Only those of the test that made it, and not what runs detached from it.
/// </summary>
internal sealed class BeforeRequests : IDisposable
{
    private static readonly AsyncLocal<BeforeRequests?> Current = new();

    private readonly MeterListener _listener = new();

    /// <param name="before">Told the operation, and how many attempts of it there were before.</param>
    public BeforeRequests(Action<string, int> before)
    {
        var counts = new Dictionary<string, int>();
        _listener.InstrumentPublished = static (instrument, listener) =>
        {
            if (instrument == EtcdMeter.Requests)
                listener.EnableMeasurementEvents(instrument);
        };
        _listener.SetMeasurementEventCallback<long>((_, _, tags, _) =>
        {
            if (Current.Value != this)
                return;
            var operation = (string)tags[0].Value!;
            int count;
            lock (counts)
                counts[operation] = (count = counts.GetValueOrDefault(operation)) + 1;
            before(operation, count);
        });
        Current.Value = this;
        _listener.Start();
    }

    public void Dispose()
    {
        Current.Value = null;
        _listener.Dispose();
    }
}
