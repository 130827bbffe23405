using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// The heartbeats of all silos as they were read at one moment. The later write wins between a row's own time and its
/// heartbeat, as if both were one column.
/// </summary>
internal sealed class Heartbeats
{
    private readonly Dictionary<ByteString, (long ModRevision, DateTime? Time)> _bySilo = [];
    private readonly int _silosPrefixLength;

    public Heartbeats(MembershipLayout layout, IEnumerable<KeyValue> keys, long readAt, Action<ByteString> unreadable)
    {
        _silosPrefixLength = layout.SilosPrefix.Length;
        ReadAt = readAt;
        foreach (var kv in keys)
        {
            var time = SiloRowReader.TryReadHeartbeat(kv.Value.Span);
            if (time is null)
                unreadable(kv.Key);
            _bySilo[UnsafeByteOperations.UnsafeWrap(kv.Key.Memory[layout.AlivePrefix.Length..])] = (kv.ModRevision, time);
        }
    }

    /// <summary>When they were read, as a timestamp.</summary>
    public long ReadAt { get; }

    public DateTime IAmAliveTime(MembershipImage.Row row) =>
        TryGet(row, out var heartbeat) && heartbeat.ModRevision > row.ModRevision ? heartbeat.Time ?? row.Entry.IAmAliveTime : row.Entry.IAmAliveTime;

    /// <summary>The mod_revision of the silo's heartbeat; 0 where it has none.</summary>
    public long ModRevision(MembershipImage.Row row) => TryGet(row, out var heartbeat) ? heartbeat.ModRevision : 0;

    private bool TryGet(MembershipImage.Row row, out (long ModRevision, DateTime? Time) heartbeat)
    {
        heartbeat = default;
        return _bySilo.Count > 0 && _bySilo.TryGetValue(UnsafeByteOperations.UnsafeWrap(row.Key.Memory[_silosPrefixLength..]), out heartbeat);
    }
}
