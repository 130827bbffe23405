namespace Orleans.Etcd;

/// <summary>
/// The request ids of one session. etcd keeps the name of a deleted key until it is compacted, and walks over it whenever
/// the queue is read; so an id is used again, for the same lock. Not thread safe.
/// </summary>
/// <remarks>
/// Invariant: an id is one lock's for good and one request's at a time, and comes back only after a request of which
/// nothing can still be under way that could harm the next.
/// </remarks>
internal sealed class RequestIds
{
    // Of locks that are not used any more they are forgotten too; what that costs is one new name each.
    private const int MostFree = 20_000;

    private readonly Dictionary<string, Stack<string>> _free = new(StringComparer.Ordinal);
    private int _freeCount;
    private long _made;

    /// <summary>An id that nobody uses.</summary>
    public string Take(string lockName)
    {
        if (!_free.TryGetValue(lockName, out var free) || free.Count == 0)
            return EtcdKeys.LeaseId(++_made);
        _freeCount--;
        return free.Pop();
    }

    /// <summary>An id that <see cref="Take"/> gave for this lock and that nobody uses any more.</summary>
    public void GiveBack(string lockName, string id)
    {
        if (_freeCount >= MostFree)
        {
            _free.Clear();
            _freeCount = 0;
        }

        if (!_free.TryGetValue(lockName, out var free))
            _free.Add(lockName, free = []);
        free.Push(id);
        _freeCount++;
    }

    /// <summary>Gives this one to nobody any more.</summary>
    public void Discard(string id)
    {
        foreach (var (lockName, free) in _free)
        {
            if (!free.Contains(id))
                continue;
            _free[lockName] = new Stack<string>(free.Where(other => other != id).Reverse());
            _freeCount--;
            return;
        }
    }
}
