using System.Collections.Immutable;
using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// What a watch knows of its range, and how a read or an event changes that.
/// </summary>
/// <remarks>
/// Invariants: the revision never falls within an epoch; every event is applied once, in order of revision, all events
/// of a revision together; after each read and each response the values equal etcd's at the revision.
/// </remarks>
internal sealed class RangeState
{
    private ImmutableDictionary<ByteString, KeyValue> _values = ImmutableDictionary<ByteString, KeyValue>.Empty;
    private int _epoch;

    public ulong ClusterId { get; private set; }

    public long Revision { get; private set; }

    /// <summary>Takes over a linearizable read of the whole range; answers null when it changes nothing.</summary>
    public RevisionBatch? Replace(RangeResponse response)
    {
        var first = _epoch == 0;
        // A linearizable read never lags, so an older revision, or another cluster, is another history.
        var newEpoch = first || response.Header.ClusterId != ClusterId || response.Header.Revision < Revision;
        var values = response.Kvs.ToImmutableDictionary(kv => kv.Key);
        var changes = new List<KeyChange>();
        foreach (var (key, previous) in _values)
        {
            if (!values.ContainsKey(key))
                changes.Add(new KeyChange(key, previous, null));
        }

        foreach (var current in response.Kvs)
        {
            var previous = _values.GetValueOrDefault(current.Key);
            if (previous is null || !SameWrite(previous, current))
                changes.Add(new KeyChange(current.Key, previous, current));
        }

        // Nor is one revision ever two states.
        newEpoch |= response.Header.Revision == Revision && changes.Count > 0;
        if (newEpoch)
            _epoch++;
        ClusterId = response.Header.ClusterId;
        Revision = response.Header.Revision;
        _values = values;
        return changes.Count == 0 && !newEpoch ? null : new RevisionBatch(changes, Snapshot(), IsResync: true);
    }

    /// <summary>Applies the events of one complete response, grouped by revision; events already seen are dropped.</summary>
    public IEnumerable<RevisionBatch> Apply(IReadOnlyList<Event> events)
    {
        for (var start = 0; start < events.Count;)
        {
            var revision = events[start].Kv.ModRevision;
            var end = start + 1;
            while (end < events.Count && events[end].Kv.ModRevision == revision)
                end++;
            if (revision > Revision)
            {
                var changes = new List<KeyChange>(end - start);
                var values = _values.ToBuilder();
                for (var i = start; i < end; i++)
                    changes.Add(Apply(events[i], values));
                _values = values.ToImmutable();
                Revision = revision;
                yield return new RevisionBatch(changes, Snapshot(), IsResync: false);
            }

            start = end;
        }
    }

    private static KeyChange Apply(Event happened, ImmutableDictionary<ByteString, KeyValue>.Builder values)
    {
        var key = happened.Kv.Key;
        var previous = values.GetValueOrDefault(key);
        if (happened.Type == Event.Types.EventType.Delete)
        {
            values.Remove(key);
            return new KeyChange(key, previous, null);
        }

        values[key] = happened.Kv;
        return new KeyChange(key, previous, happened.Kv);
    }

    // The value too: after a restore two histories can give one revision to two writes.
    private static bool SameWrite(KeyValue a, KeyValue b) =>
        a.ModRevision == b.ModRevision && a.CreateRevision == b.CreateRevision && a.Lease == b.Lease && a.Value.Equals(b.Value);

    private RangeSnapshot Snapshot() => new(Revision, _epoch, ClusterId, _values);
}
