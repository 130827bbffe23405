using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What was logged as a warning or worse.</summary>
internal sealed class Warnings : ILogger<EtcdMembershipTable>, ILogger<EtcdGatewayListProvider>
{
    private readonly ConcurrentQueue<string> _lines = [];

    public IReadOnlyCollection<string> Lines => _lines;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public bool IsEnabled(LogLevel logLevel) => true;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (logLevel >= LogLevel.Warning)
            _lines.Enqueue(formatter(state, exception));
    }
}

/// <summary>The sum of what a counter of ours was told by this test while this lived, whatever other tests do meanwhile.</summary>
internal sealed class MeterTotal : IDisposable
{
    // A counter calls back where it is counted, in the context of whoever made the call.
    private static readonly AsyncLocal<MeterTotal?> Current = new();

    private readonly MeterListener _listener = new();
    private long _total;

    public MeterTotal(string instrument)
    {
        Current.Value = this;
        _listener.InstrumentPublished = (published, listener) =>
        {
            if (published.Meter.Name == "Orleans.Etcd" && published.Name == instrument)
                listener.EnableMeasurementEvents(published);
        };
        _listener.SetMeasurementEventCallback<long>((_, measured, _, _) =>
        {
            if (Current.Value == this)
                Interlocked.Add(ref _total, measured);
        });
        _listener.Start();
    }

    public long Total => Interlocked.Read(ref _total);

    public void Dispose() => _listener.Dispose();
}
