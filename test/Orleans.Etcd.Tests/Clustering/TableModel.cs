using System.Globalization;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>One step of a random history. Which silo, table and token are meant is resolved when it runs.</summary>
public sealed record TableStep(TableAction Action, int Silo, SiloStatus Status, int Minutes, bool SecondTable, bool StaleVersion, bool StaleRow)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{Action} {Silo} {Status} +{Minutes} min{(SecondTable ? " on 2" : "")}{(StaleVersion ? " stale version" : "")}{(StaleRow ? " stale row" : "")}");
}

public enum TableAction
{
    Insert,
    Update,
    Heartbeat,
    ReadAll,
    ReadRow,
    Cleanup,
    DeleteAll,
}

/// <summary>The table as its contract describes it: what a sequential history must look like.</summary>
internal sealed class TableModel
{
    private readonly SortedDictionary<int, Row> _rows = [];

    public int Version { get; private set; }

    public bool Has(int silo) => _rows.ContainsKey(silo);

    public bool Insert(int silo, SiloStatus status, DateTime alive, bool tokensGood)
    {
        if (!tokensGood || !_rows.TryAdd(silo, new Row(status, alive, Beat: null, BeatIsLast: false)))
            return false;
        Version++;
        return true;
    }

    public bool Update(int silo, SiloStatus status, DateTime alive, bool tokensGood)
    {
        if (!tokensGood || !_rows.TryGetValue(silo, out var row))
            return false;
        _rows[silo] = new Row(status, alive, row.Beat, BeatIsLast: false);
        Version++;
        return true;
    }

    public void Heartbeat(int silo, DateTime alive)
    {
        if (_rows.TryGetValue(silo, out var row))
            _rows[silo] = row with { Beat = alive, BeatIsLast = true };
    }

    public void Cleanup(DateTime cutoff)
    {
        var defunct = _rows.Where(row => row.Value.Status == SiloStatus.Dead && row.Value.Latest < cutoff && Silos.Epoch < cutoff).Select(row => row.Key).ToList();
        defunct.ForEach(silo => _rows.Remove(silo));
        if (defunct.Count > 0)
            Version++;
    }

    public void DeleteAll()
    {
        _rows.Clear();
        Version = 0;
    }

    public string Describe(bool withAlive, int? only = null) =>
        Text(Version, _rows.Where(row => only is null || row.Key == only).Select(row => (row.Key, row.Value.Status, row.Value.Alive)), withAlive);

    public static string Describe(MembershipTableData data, bool withAlive) =>
        Text(data.Version.Version, data.Members.Select(member => (member.Item1.SiloAddress.Endpoint.Port - 10_000, member.Item1.Status, member.Item1.IAmAliveTime)).OrderBy(row => row.Item1), withAlive);

    private static string Text(int version, IEnumerable<(int Silo, SiloStatus Status, DateTime Alive)> rows, bool withAlive) =>
        $"v{version} " + string.Join(" ", rows.Select(row => withAlive ? $"{row.Silo}={row.Status}@{row.Alive:O}" : $"{row.Silo}={row.Status}"));

    /// <summary>Whoever else writes the row writes back a time that it has read: it never hides a later heartbeat.</summary>
    private sealed record Row(SiloStatus Status, DateTime Written, DateTime? Beat, bool BeatIsLast)
    {
        public DateTime Latest => Beat > Written ? Beat.Value : Written;

        public DateTime Alive => BeatIsLast ? Beat!.Value : Latest;
    }
}
