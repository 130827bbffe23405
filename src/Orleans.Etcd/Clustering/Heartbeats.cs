using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// The heartbeats of all silos as they were read at one moment. The later write wins between a row's own time and its
/// heartbeat, as if both were one column.
/// </summary>
internal sealed class Heartbeats
{
    private readonly Dictionary<ByteString, (long ModRevision, DateTime Time)> _bySilo = [];
    private readonly int _silosPrefixLength;

    public Heartbeats(MembershipLayout layout, IEnumerable<KeyValue> keys, long readAt, Action<ByteString> unreadable)
    {
        _silosPrefixLength = layout.SilosPrefix.Length;
        ReadAt = readAt;
        foreach (var kv in keys)
        {
            if (MembershipCodec.TryDecodeHeartbeat(kv) is { } value)
                _bySilo[ByteString.CopyFrom(kv.Key.Span[layout.AlivePrefix.Length..])] = (kv.ModRevision, value.IAmAliveTime);
            else
                unreadable(kv.Key);
        }
    }

    /// <summary>When they were read, as a timestamp.</summary>
    public long ReadAt { get; }

    public DateTime IAmAliveTime(MembershipImage.Row row)
    {
        if (_bySilo.Count == 0)
            return row.Entry.IAmAliveTime;
        return _bySilo.TryGetValue(ByteString.CopyFrom(row.Key.Span[_silosPrefixLength..]), out var heartbeat) && heartbeat.ModRevision > row.ModRevision
            ? heartbeat.Time
            : row.Entry.IAmAliveTime;
    }
}
