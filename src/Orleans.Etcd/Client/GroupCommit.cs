using Etcdserverpb;

namespace Orleans.Etcd;

/// <summary>
/// Sends transactions that have nothing to do with each other in one, when more are asked for than are under way: each
/// write of etcd's costs a round of consensus and a sync to disk, of one transaction or of many. Thread safe.
/// </summary>
/// <remarks>
/// <para>Invariant: no two of one group are of one lane. The comparisons of a group are made before any of it is applied,
/// and keys that it creates have one create_revision: within a lane either would matter.</para>
/// <para>Nobody waits for a group to fill: what is asked for while few are under way is sent at once, as it is. More are under way only
/// where two of a lane wait, which no group takes both. Nobody overtakes another of the lane, and whoever has waited longest goes with the
/// next that is sent. Where etcd refuses a group, each of it is sent by itself, so that nobody fails for another's mistake.</para>
/// </remarks>
internal sealed class GroupCommit(EtcdConnection etcd)
{
    // What etcd takes by default, the operations of a group and of its largest transaction together.
    private const int MostOperations = 128;
    private const int MostInGroup = 64;
    private const int MostUnderWay = 4;
    private const int MostForBusyLanes = 16;

    private readonly object _lock = new();
    private readonly LinkedList<Entry> _waiting = [];
    private readonly Dictionary<string, int> _lanes = new(StringComparer.Ordinal);
    private int _underWay;

    /// <summary>Whether two of a lane wait. Under the lock.</summary>
    private bool HasBusyLane => _waiting.Count > _lanes.Count;

    /// <summary>As <see cref="EtcdConnection.TxnRepeatablyAsync"/>, perhaps together with others' of other lanes.</summary>
    public async Task<TxnResponse> TxnRepeatablyAsync(string lane, TxnRequest txn, Action? unanswered = null)
    {
        Entry? waiting = null;
        List<Entry>? more = null;
        lock (_lock)
        {
            var isSent = _underWay < MostUnderWay;
            if (!isSent)
                Add(waiting = new Entry(lane, txn, unanswered, etcd.Time.GetTimestamp()));
            if (!isSent && _underWay < MostForBusyLanes && HasBusyLane)
                more = NextGroup();
            if (isSent || more is not null)
                _underWay++;
        }

        if (more is not null)
            Detached.Start(() => CommitAsync(more));
        if (waiting is not null)
            return await waiting.Answer.Task.ConfigureAwait(false);
        try
        {
            return await etcd.TxnRepeatablyAsync(txn, CancellationToken.None, unanswered).ConfigureAwait(false);
        }
        finally
        {
            if (Next() is { } group)
                Detached.Start(() => CommitAsync(group));
        }
    }

    /// <summary>Commits a group, and what has come meanwhile, until nothing is left or enough is under way for it.</summary>
    private async Task CommitAsync(List<Entry> first)
    {
        for (var group = first; group is not null; group = Next())
        {
            try
            {
                await SendAsync(group).ConfigureAwait(false);
            }
            catch (Exception exception)
            {
                Fail(group, exception);
            }
        }
    }

    /// <summary>The group that is sent in place of what was answered; null if nobody waits, or enough is under way for those who do.</summary>
    private List<Entry>? Next()
    {
        lock (_lock)
        {
            if (_waiting.Count > 0 && (_underWay <= MostUnderWay || HasBusyLane))
                return NextGroup();
            _underWay--;
            return null;
        }
    }

    private async Task SendAsync(List<Entry> group)
    {
        if (group is [var single])
        {
            single.Answer.SetResult(await etcd.TxnRepeatablyAsync(single.Txn, CancellationToken.None, single.Unanswered).ConfigureAwait(false));
            return;
        }

        var all = new TxnRequest();
        all.Success.AddRange(group.Select(entry => new RequestOp { RequestTxn = entry.Txn }));
        TxnResponse response;
        try
        {
            response = await etcd.TxnRepeatablyAsync(all, CancellationToken.None, () => group.ForEach(static entry => entry.Unanswered?.Invoke())).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (exception is { IsTransient: false } or { Code: EtcdErrorCode.ResourceExhausted })
        {
            // One of them is to blame, whichever. If an attempt before was applied after all, each finds that by itself.
            await Task.WhenAll(group.Select(SendAloneAsync)).ConfigureAwait(false);
            return;
        }

        for (var i = 0; i < group.Count; i++)
            group[i].Answer.SetResult(Txn.Nested(response, i));
    }

    private async Task SendAloneAsync(Entry entry)
    {
        try
        {
            entry.Answer.SetResult(await etcd.TxnRepeatablyAsync(entry.Txn, CancellationToken.None, entry.Unanswered).ConfigureAwait(false));
        }
        catch (Exception exception)
        {
            entry.Answer.TrySetException(exception);
        }
    }

    /// <summary>Those that have waited longest, one of each lane. Under the lock.</summary>
    private List<Entry> NextGroup()
    {
        List<Entry> group = [];
        HashSet<string> lanes = new(StringComparer.Ordinal);
        var largest = 0;
        for (var node = _waiting.First; node is not null && group.Count < MostInGroup;)
        {
            var next = node.Next;
            var size = Math.Max(largest, node.Value.Size);
            if (lanes.Add(node.Value.Lane) && (group.Count == 0 || group.Count + 1 + size <= MostOperations))
            {
                largest = size;
                group.Add(node.Value);
                Remove(node);
            }

            node = next;
        }

        return group;
    }

    /// <summary>Under the lock.</summary>
    private void Add(Entry entry)
    {
        _waiting.AddLast(entry);
        _lanes[entry.Lane] = _lanes.GetValueOrDefault(entry.Lane) + 1;
    }

    /// <summary>Under the lock.</summary>
    private void Remove(LinkedListNode<Entry> node)
    {
        _waiting.Remove(node);
        if (--_lanes[node.Value.Lane] == 0)
            _lanes.Remove(node.Value.Lane);
    }

    /// <summary>Fails the group; and where etcd does not answer, all who have waited behind it for as long as a call may take.</summary>
    private void Fail(List<Entry> group, Exception exception)
    {
        List<Entry> failed = [.. group];
        var isAway = exception is EtcdException { IsTransient: true } or not EtcdException;
        lock (_lock)
        {
            while (isAway && _waiting.First is { } first && etcd.Time.GetElapsedTime(first.Value.Since) > etcd.Options.RequestTimeout)
            {
                failed.Add(first.Value);
                Remove(first);
            }
        }

        foreach (var entry in failed)
            entry.Answer.TrySetException(exception);
    }

    /// <summary>How many operations etcd counts.</summary>
    private static int Size(TxnRequest txn) =>
        Math.Max(txn.Compare.Count, Math.Max(txn.Success.Count, txn.Failure.Count)) + txn.Success.Concat(txn.Failure).Select(static op => op.RequestTxn is { } inner ? Size(inner) : 0).DefaultIfEmpty().Max();

    private sealed record Entry(string Lane, TxnRequest Txn, Action? Unanswered, long Since)
    {
        public int Size { get; } = Size(Txn);

        public TaskCompletionSource<TxnResponse> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
