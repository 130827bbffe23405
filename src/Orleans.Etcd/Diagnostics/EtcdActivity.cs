using System.Diagnostics;

namespace Orleans.Etcd;

/// <summary>The activity source <c>Orleans.Etcd</c>.</summary>
internal static class EtcdActivity
{
    private static readonly ActivitySource Source = new(EtcdMeter.Name);

    /// <summary>
    /// Starts a span that lasts longer than the call which starts it: a child of its caller's, which stays the current one.
    /// </summary>
    public static Activity? StartDetached(string operation, KeyValuePair<string, object?> kind, string name, ActivityContext parent)
    {
        var current = Activity.Current;
        Activity.Current = null;
        var started = Start(operation, kind, name, parent);
        Activity.Current = current;
        return started;
    }

    /// <summary>Ends such a span, and leaves the current one as it is.</summary>
    public static void StopDetached(Activity? span)
    {
        var current = Activity.Current;
        span?.Dispose();
        Activity.Current = current;
    }

    /// <summary>Starts a span about a namespace; null where nobody listens.</summary>
    public static Activity? Start(string operation, string @namespace) => Source.StartActivity(operation)?.SetTag("orleans.etcd.config.namespace", @namespace);

    /// <summary>Starts a span about a lock; null where nobody listens.</summary>
    public static Activity? Start(string operation, KeyValuePair<string, object?> kind, string name, ActivityContext parent) => Source.StartActivity(
        operation,
        ActivityKind.Internal,
        parent,
        [new("orleans.etcd.lock.kind", kind.Value), new("orleans.etcd.lock.name", name)]);
}
