using Etcdserverpb;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>
/// Writes at random (single puts, deletes, several keys at once) and knows exactly which revision changed what, also
/// across failures: each transaction compares and replaces a marker outside the range, which tells an applied one.
/// </summary>
internal sealed class ReferenceLog(EtcdConnection etcd, string prefix, int seed, int valueSize = 0, int mostKeys = 5)
{
    private const int Keys = 20;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);
    private readonly Random _random = new(seed);
    private readonly HashSet<string> _live = [];
    private readonly string _marker = $"marker/{prefix}";
    private readonly List<(long Revision, IReadOnlyDictionary<string, string?> Changes)> _entries = [];
    private long _markerRevision;
    private int _values;

    public int Seed => seed;

    /// <summary>What each revision changed in the range; null is a deletion.</summary>
    public IReadOnlyList<(long Revision, IReadOnlyDictionary<string, string?> Changes)> Entries => _entries;

    public long LastRevision => _entries.Count == 0 ? 0 : _entries[^1].Revision;

    public async Task WriteAsync(int count, CancellationToken cancellationToken = default)
    {
        for (var i = 0; i < count; i++)
            await WriteOneAsync(Draw(), cancellationToken);
    }

    /// <summary>Writes until cancelled, finishing what was begun.</summary>
    public async Task WriteUntilAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            await WriteOneAsync(Draw(), CancellationToken.None);
            await Task.Delay(1, CancellationToken.None);
        }
    }

    public Task DeleteAllAsync() => WriteOneAsync(_live.ToDictionary(key => key, _ => (string?)null), CancellationToken.None);

    private Dictionary<string, string?> Draw()
    {
        var changes = new Dictionary<string, string?>();
        var count = mostKeys > 5 || _random.Next(5) == 0 ? _random.Next(2, mostKeys + 1) : 1;
        while (changes.Count < count)
        {
            var key = $"{prefix}{_random.Next(Keys)}";
            var delete = _live.Contains(key) && _random.Next(3) == 0;
            changes[key] = delete ? null : $"{++_values}:{new string('x', valueSize)}";
        }

        return changes;
    }

    private async Task WriteOneAsync(IReadOnlyDictionary<string, string?> changes, CancellationToken cancellationToken)
    {
        var marker = Connections.Bytes(_marker);
        var request = new TxnRequest { Compare = { Txn.ModRevisionIs(marker, _markerRevision) }, Failure = { Txn.Get(marker) } };
        foreach (var (key, value) in changes)
            request.Success.Add(value is null ? Txn.Delete(Connections.Bytes(key)) : Txn.Put(Connections.Bytes(key), Connections.Bytes(value)));
        request.Success.Add(Txn.Put(marker, Connections.Bytes("")));
        while (true)
        {
            try
            {
                var response = await etcd.TxnAsync(request, cancellationToken);
                // Not succeeded: an earlier attempt, whose answer was lost, was applied after all.
                _markerRevision = response.Succeeded ? response.Header.Revision : response.Responses[0].ResponseRange.Kvs[0].ModRevision;
                break;
            }
            catch (EtcdException exception) when (exception.IsTransient)
            {
                await Task.Delay(Pause, cancellationToken);
            }
        }

        _entries.Add((_markerRevision, changes));
        foreach (var (key, value) in changes)
        {
            if (value is null)
                _live.Remove(key);
            else
                _live.Add(key);
        }
    }
}
