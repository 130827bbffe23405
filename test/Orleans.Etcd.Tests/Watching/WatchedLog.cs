using Xunit;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>Reads everything that a watch says, and compares it with what was written.</summary>
internal sealed class WatchedLog : IAsyncDisposable
{
    private readonly RangeWatch _watch;
    private readonly List<RevisionBatch> _batches = [];
    private readonly Task _reading;
    private readonly object _lock = new();

    public WatchedLog(EtcdConnection etcd, string prefix)
    {
        _watch = new RangeWatch(etcd, prefix);
        _reading = ReadAsync();
    }

    public RangeWatch Watch => _watch;

    public IReadOnlyList<RevisionBatch> Batches
    {
        get
        {
            lock (_lock)
                return [.. _batches];
        }
    }

    public async Task<RevisionBatch> WaitForAsync(Func<RevisionBatch, bool> condition, string because)
    {
        RevisionBatch? found = null;
        var limit = DateTime.UtcNow.AddSeconds(40);
        while (found is null)
        {
            Assert.True(DateTime.UtcNow < limit, $"Not seen within 40 s: {because}. Last revision {Batches.LastOrDefault()?.Snapshot.Revision}, error {_watch.LastError}");
            await Task.Delay(10);
            found = Batches.FirstOrDefault(condition);
        }

        return found;
    }

    public Task<RevisionBatch> WaitForStartAsync() => WaitForAsync(_ => true, "the first batch");

    /// <summary>
    /// Waits for the last revision and asserts that each revision arrived once, whole and in order. A batch that is a
    /// resync may stand for several revisions, and must leave the state that they leave.
    /// </summary>
    public async Task AssertEqualsAsync(ReferenceLog reference, int maxResyncs = 0)
    {
        await WaitForAsync(batch => batch.Snapshot.Revision >= reference.LastRevision, $"revision {reference.LastRevision}, seed {reference.Seed}");
        var batches = Batches;
        Assert.True(batches[0].IsResync);
        Assert.InRange(batches.Skip(1).Count(batch => batch.IsResync), 0, maxResyncs);

        var expected = new Dictionary<string, string>();
        var next = 0;
        var told = new Dictionary<string, string>();
        foreach (var batch in batches)
        {
            var because = $"revision {batch.Snapshot.Revision}, seed {reference.Seed}";
            if (batch.IsResync)
            {
                while (next < reference.Entries.Count && reference.Entries[next].Revision <= batch.Snapshot.Revision)
                    Fold(expected, reference.Entries[next++].Changes);
            }
            else
            {
                Assert.True(next < reference.Entries.Count, $"more than was written: {because}");
                Assert.Equal(reference.Entries[next].Revision, batch.Snapshot.Revision);
                AssertSame(reference.Entries[next].Changes, batch.Changes.ToDictionary(change => change.Key.ToStringUtf8(), Value), because);
                Fold(expected, reference.Entries[next++].Changes);
            }

            foreach (var change in batch.Changes)
                Assert.Equal(told.GetValueOrDefault(change.Key.ToStringUtf8()), change.Previous?.Value.ToStringUtf8());
            Fold(told, batch.Changes.ToDictionary(change => change.Key.ToStringUtf8(), Value));
            AssertSame(expected, told, because);
            AssertSame(expected, batch.Snapshot.Values.ToDictionary(pair => pair.Key.ToStringUtf8(), pair => pair.Value.Value.ToStringUtf8()), because);
        }

        Assert.Equal(reference.Entries.Count, next);
    }

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync();
        await _reading;
    }

    private async Task ReadAsync()
    {
        await foreach (var batch in _watch.Batches.ReadAllAsync())
        {
            lock (_lock)
                _batches.Add(batch);
        }
    }

    private static string? Value(KeyChange change) => change.Current?.Value.ToStringUtf8();

    private static void Fold(Dictionary<string, string> state, IReadOnlyDictionary<string, string?> changes)
    {
        foreach (var (key, value) in changes)
        {
            if (value is null)
                state.Remove(key);
            else
                state[key] = value;
        }
    }

    private static void AssertSame<T>(IReadOnlyDictionary<string, T> expected, IReadOnlyDictionary<string, T> actual, string because)
    {
        Assert.True(
            expected.Count == actual.Count && expected.All(pair => actual.TryGetValue(pair.Key, out var value) && Equals(value, pair.Value)),
            $"not what was written: {because}");
    }
}
