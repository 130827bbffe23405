using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// The heartbeats of all silos as they were read at one moment. Between a row's own time and its heartbeat, a heartbeat
/// written after the row is what the silo last said. One written before it is not lost either: whoever else writes the row,
/// to vote or to declare the silo dead, writes back a time that it had read, and that may be older.
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
        Beat(row) is not { } beat ? row.Entry.IAmAliveTime : beat.ModRevision > row.ModRevision ? beat.Time : LatestTime(row);

    /// <summary>The later of the row's own time and its heartbeat's.</summary>
    public DateTime LatestTime(MembershipImage.Row row) =>
        Beat(row) is { } beat && beat.Time > row.Entry.IAmAliveTime ? beat.Time : row.Entry.IAmAliveTime;

    /// <summary>The mod_revision of the silo's heartbeat; 0 where it has none.</summary>
    public long ModRevision(MembershipImage.Row row) => TryGet(row, out var heartbeat) ? heartbeat.ModRevision : 0;

    /// <summary>The heartbeat of this life of the row; one from before says nothing of it.</summary>
    private (long ModRevision, DateTime Time)? Beat(MembershipImage.Row row) =>
        TryGet(row, out var heartbeat) && heartbeat.ModRevision > row.CreateRevision && heartbeat.Time is { } time ? (heartbeat.ModRevision, time) : null;

    private bool TryGet(MembershipImage.Row row, out (long ModRevision, DateTime? Time) heartbeat)
    {
        heartbeat = default;
        return _bySilo.Count > 0 && _bySilo.TryGetValue(UnsafeByteOperations.UnsafeWrap(row.Key.Memory[_silosPrefixLength..]), out heartbeat);
    }
}
