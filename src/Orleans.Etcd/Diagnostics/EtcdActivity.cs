using System.Diagnostics;

namespace Orleans.Etcd;

/// <summary>The activity source <c>Orleans.Etcd</c>.</summary>
internal static class EtcdActivity
{
    private static readonly ActivitySource Source = new(EtcdMeter.Name);

    /// <summary>Starts a span about a lock; null where nobody listens.</summary>
    public static Activity? Start(string operation, KeyValuePair<string, object?> kind, string name, ActivityContext parent) => Source.StartActivity(
        operation,
        ActivityKind.Internal,
        parent,
        [new("orleans.etcd.lock.kind", kind.Value), new("orleans.etcd.lock.name", name)]);
}
