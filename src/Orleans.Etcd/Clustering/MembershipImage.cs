using System.Globalization;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// The rows of the table at one revision, decoded. Immutable and never handed out: <see cref="ToTableData"/> copies.
/// </summary>
/// <remarks>
/// Since every write of a row also writes the version, two images with the same <see cref="VersionModRevision"/> have
/// the same rows: that is what lets a read of one key stand for a read of all.
/// </remarks>
internal sealed class MembershipImage
{
    // Far beyond what a cluster writes, and far from where the next step would overflow: a number over this is damage.
    private const int LargestVersion = 1_000_000_000;

    private readonly Dictionary<ByteString, Row> _byKey;
    private volatile ResolvedTimes? _resolved;

    private MembershipImage(ulong clusterId, long revision, KeyValue? version, int number, string? writeId, Dictionary<ByteString, Row> rows)
    {
        ClusterId = clusterId;
        Revision = revision;
        VersionModRevision = version?.ModRevision ?? 0;
        Version = new TableVersion(number, ETag(VersionModRevision));
        VersionWriteId = writeId;
        _byKey = rows;
        Rows = [.. rows.Values.Where(row => !IsDead(row)), .. rows.Values.Where(IsDead)];
    }

    /// <summary>The etcd cluster that it was read from: another's revisions mean something else.</summary>
    public ulong ClusterId { get; }

    /// <summary>The revision that it was read at.</summary>
    public long Revision { get; }

    /// <summary>The mod_revision of the version's key; 0 where it does not exist.</summary>
    public long VersionModRevision { get; }

    public TableVersion Version { get; }

    public string? VersionWriteId { get; }

    /// <summary>The rows, those of dead silos last, as Orleans lists them.</summary>
    public Row[] Rows { get; }

    public static string ETag(long modRevision) => modRevision.ToString(CultureInfo.InvariantCulture);

    /// <summary>Decodes what a watch on <see cref="MembershipLayout.Prefix"/> shows.</summary>
    public static MembershipImage Decode(MembershipLayout layout, RangeSnapshot snapshot, MembershipImage? known, Action<ByteString> unreadable) =>
        Decode(layout, snapshot.ClusterId, snapshot.Revision, snapshot.Values.Values, snapshot.Values.Count, key => known?.Find(key), unreadable);

    /// <summary>Decodes the keys of <see cref="MembershipLayout.Range"/>, taking over rows that are known already.</summary>
    public static MembershipImage Decode(MembershipLayout layout, ulong clusterId, long revision, IEnumerable<KeyValue> keys, int count, Func<ByteString, Row?> known, Action<ByteString> unreadable)
    {
        KeyValue? version = null;
        var rows = new Dictionary<ByteString, Row>(count);
        foreach (var kv in keys)
        {
            if (kv.Key.Equals(layout.VersionKey))
                version = kv;
            else if (DecodeRow(layout, kv, known(kv.Key)) is { } row)
                rows.Add(kv.Key, row);
            else
                unreadable(kv.Key);
        }

        var value = version is null ? null : MembershipCodec.TryDecodeVersion(version);
        if (value?.Version > LargestVersion)
            value = null;
        if (version is not null && value is null)
            unreadable(version.Key);
        // Someone may overwrite it, with garbage or a lower number: etcd's own count of writes goes on where the number
        // stopped, since each write is one step, and so it never falls.
        var number = (int)Math.Max(value?.Version ?? 0, (version?.Version ?? 1) - 1);
        return new MembershipImage(clusterId, revision, version, number, value?.WriteId, rows);
    }

    /// <summary>The table as Orleans wants it, in objects of the caller's own.</summary>
    public MembershipTableData ToTableData(Heartbeats heartbeats)
    {
        // Of reads of an unchanged table, which are most, looking up each heartbeat again would be the larger part.
        var resolved = _resolved;
        if (resolved is null || resolved.Heartbeats != heartbeats)
            _resolved = resolved = new ResolvedTimes(heartbeats, Array.ConvertAll(Rows, heartbeats.IAmAliveTime));
        var members = new List<Tuple<MembershipEntry, string>>(Rows.Length);
        // Filled once it is there: it sorts what it is given, by name, for logs; of 1,000 rows that takes as long as all else.
        var data = new MembershipTableData(members, Version);
        for (var i = 0; i < Rows.Length; i++)
            members.Add(Tuple.Create(MembershipCodec.Copy(Rows[i].Entry, resolved.Times[i]), Rows[i].ETag));
        return data.Members.Count == members.Count ? data : new MembershipTableData(members, Version);
    }

    private static bool IsDead(Row row) => row.Entry.Status == SiloStatus.Dead;

    /// <summary>The row under a key; null where there is none.</summary>
    public Row? Find(ByteString key) => _byKey.GetValueOrDefault(key);

    /// <summary>Decodes a row; null where it cannot be read.</summary>
    /// <param name="layout">The keys.</param>
    /// <param name="kv">The row.</param>
    /// <param name="known">What stood under its key before, or stands there.</param>
    public static Row? DecodeRow(MembershipLayout layout, KeyValue kv, Row? known)
    {
        if (known is not null && known.ModRevision == kv.ModRevision && known.CreateRevision == kv.CreateRevision && known.Value.Equals(kv.Value))
            return known;
        return kv.Key.Span.StartsWith(layout.SilosPrefix.Span) && SiloRowReader.TryRead(kv.Value.Span, kv.Key.Span[layout.SilosPrefix.Length..], known?.Entry) is { } entry
            ? new Row(kv.Key, kv.Value, kv.CreateRevision, kv.ModRevision, ETag(kv.ModRevision), entry)
            : null;
    }

    /// <summary>The times that go with some heartbeats, in the order of the rows.</summary>
    private sealed record ResolvedTimes(Heartbeats Heartbeats, DateTime[] Times);

    /// <summary>One silo's row; with its value, since after a restore one revision may stand for two writes.</summary>
    internal sealed record Row(ByteString Key, ByteString Value, long CreateRevision, long ModRevision, string ETag, MembershipEntry Entry);
}
