using System.Collections.Immutable;
using Etcdserverpb;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>How a namespace is brought back to what it was at a revision, while others go on changing it.</summary>
internal sealed partial class ConfigWriter
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(20);

    public async Task<ConfigCommitResult> RollbackAsync(long revision, string? author, string? reason)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(revision, 1);
        var isChanged = false;
        var started = etcd.Time.GetTimestamp();
        var pause = FirstPause;
        try
        {
            var now = await GuardAsync().ConfigureAwait(false);
            ArgumentOutOfRangeException.ThrowIfGreaterThan(revision, now.Revision);
            var then = await ThenAsync(revision).ConfigureAwait(false);
            while (true)
            {
                var edits = then is not null ? Differences(now.Kvs, then) : await TakeBackAsync(revision, now.Kvs).ConfigureAwait(false);
                if (edits.IsEmpty)
                    return new ConfigCommitResult(now.Revision, null);
                if (edits.Length > MostEdits)
                    throw new InvalidOperationException($"Namespace '{layout.Name}' differs from what it was at revision {revision} in {edits.Length} keys; at most {MostEdits} can be brought back at once.");
                // Nothing that was written meanwhile is to be lost without anybody having seen it. Where something was, the answer
                // says what is there now: from that to the next attempt there is one way to etcd, so that writers hardly keep it off.
                var result = await CommitAsync(new ConfigCommit { Edits = edits, Author = author, Reason = reason ?? $"Rollback to revision {revision}" }, now).ConfigureAwait(false);
                if (result.IsCommitted)
                {
                    isChanged = true;
                    if (await IsAsync(result.Revision, then).ConfigureAwait(false))
                        return result;
                    now = await GuardAsync().ConfigureAwait(false);
                }

                // Nobody who asked waits for ever, and others have their turn.
                if (etcd.Time.GetElapsedTime(started) > MostTime)
                    throw new EtcdException(EtcdErrorCode.Timeout, "Rollback", $"Namespace '{layout.Name}' is written to all the time: each attempt to bring it back to revision {revision} met something newer.", outcomeUnknown: false);
                await Task.Delay(Backoff.Jittered(pause), etcd.Time).ConfigureAwait(false);
                pause = Backoff.Longer(pause, LongestPause);
            }
        }
        catch (EtcdException exception) when (isChanged && !exception.OutcomeUnknown)
        {
            throw new EtcdException(exception.Code, exception.Operation, $"The namespace was changed, and whether it is as it was at revision {revision} is not known. {exception.Message}", outcomeUnknown: true, exception);
        }
    }

    private async Task<Guard> GuardAsync()
    {
        var read = new TxnRequest { Success = { NewestKey(), new RequestOp { RequestRange = Txn.Range(layout.Prefix) } } };
        var guard = new Guard();
        var response = await etcd.TxnAsync(read, CancellationToken.None).ConfigureAwait(false);
        guard.Learn(response, Last(response.Responses[0].ResponseRange));
        return guard;
    }

    /// <summary>Whether the namespace was that at a revision: a key that somebody else deletes meanwhile is none that a guard could compare.</summary>
    private async Task<bool> IsAsync(long revision, IReadOnlyCollection<KeyValue>? wanted) =>
        wanted is null || await ThenAsync(revision).ConfigureAwait(false) is not { } there || Differences(there, wanted).IsEmpty;

    /// <summary>The namespace as etcd knows it to have been; null where it has forgotten.</summary>
    private async Task<IReadOnlyCollection<KeyValue>?> ThenAsync(long revision)
    {
        try
        {
            var request = Txn.Range(layout.Prefix);
            request.Revision = revision;
            return (await etcd.RangeAsync(request, CancellationToken.None).ConfigureAwait(false)).Kvs;
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.Compacted)
        {
            return null;
        }
    }

    private ImmutableArray<ConfigEdit> Differences(IEnumerable<KeyValue> now, IReadOnlyCollection<KeyValue> then)
    {
        var (present, past) = (now.ToDictionary(kv => kv.Key), then.ToDictionary(kv => kv.Key));
        var edits = ImmutableArray.CreateBuilder<ConfigEdit>();
        foreach (var kv in then.Where(kv => present.GetValueOrDefault(kv.Key) is not { } current || !current.Value.Equals(kv.Value)))
            edits.Add(ConfigEdit.Set(Name(kv.Key), kv.Value.Span));
        foreach (var key in present.Keys.Where(key => !past.ContainsKey(key)))
            edits.Add(ConfigEdit.Delete(Name(key)));
        return edits.ToImmutable();
    }

    /// <summary>
    /// What every key that was committed since was made by the last commit up to the revision. One that no commit had made by then,
    /// and that was made since and never deleted, was not there.
    /// </summary>
    private async Task<ImmutableArray<ConfigEdit>> TakeBackAsync(long revision, IEnumerable<KeyValue> now)
    {
        HashSet<string> since = new(StringComparer.Ordinal);
        HashSet<string> deleted = new(StringComparer.Ordinal);
        Dictionary<string, ConfigRecordEdit> then = new(StringComparer.Ordinal);
        var present = now.Where(kv => layout.NameOf(kv.Key) is not null).ToDictionary(kv => layout.NameOf(kv.Key)!, StringComparer.Ordinal);
        var isReached = false;
        for (var before = long.MaxValue; ;)
        {
            var records = await RecordsAsync(limit: 100, before).ConfigureAwait(false);
            foreach (var (sequence, made, record) in records)
            {
                before = sequence;
                isReached |= made <= revision;
                foreach (var edit in record.Edits)
                {
                    if (made > revision)
                        since.Add(edit.Key);
                    else if (since.Contains(edit.Key))
                        then.TryAdd(edit.Key, edit);
                    if (made > revision && edit.Deleted)
                        deleted.Add(edit.Key);
                }
            }

            if (isReached && since.All(then.ContainsKey))
                break;
            if (records.Count > 0)
                continue;
            // There is no more. What is forgotten may have been committed after the revision, unless one from before is still there, or the first of all.
            var isComplete = isReached || before == 1;
            foreach (var key in since.Where(key => !then.ContainsKey(key) && !deleted.Contains(key) && present.GetValueOrDefault(key)?.CreateRevision > revision))
                then.Add(key, new ConfigRecordEdit { Key = key, Deleted = true });
            if (!isComplete || since.Count == 0 || !since.All(then.ContainsKey))
                throw new InvalidOperationException($"etcd has compacted revision {revision}, and the history of commits does not go back as far for all keys that were committed since.");
            break;
        }

        var edits = ImmutableArray.CreateBuilder<ConfigEdit>();
        foreach (var edit in then.Values)
        {
            if (!edit.Deleted && edit.Value is null)
                throw new InvalidOperationException($"etcd has compacted revision {revision}, and what '{edit.Key}' was then is too large to have been kept in the history.");
            // It was there, though the last commit had deleted it: somebody else had made it.
            if (edit.Deleted && present.GetValueOrDefault(edit.Key)?.CreateRevision <= revision)
                throw new InvalidOperationException($"etcd has compacted revision {revision}, and '{edit.Key}' was then what somebody else had written, which the history of commits does not hold.");
            var current = present.GetValueOrDefault(edit.Key)?.Value;
            if (edit.Deleted && current is not null)
                edits.Add(ConfigEdit.Delete(edit.Key));
            else if (!edit.Deleted && (current is null || !current.Span.SequenceEqual(edit.Value)))
                edits.Add(ConfigEdit.Set(edit.Key, edit.Value.AsSpan()));
        }

        return edits.ToImmutable();
    }

    /// <summary>The namespace as it was last seen, which a commit is to find unchanged, and the last record of then.</summary>
    private sealed class Guard
    {
        public IReadOnlyCollection<KeyValue> Kvs { get; private set; } = [];

        public long Revision { get; private set; }

        public LastRecord Last { get; private set; } = new(0, 0);

        /// <param name="response">Its last answer is the namespace.</param>
        /// <param name="last">The last record that it tells of.</param>
        public void Learn(TxnResponse response, LastRecord last)
        {
            Kvs = response.Responses[^1].ResponseRange.Kvs;
            Revision = response.Header.Revision;
            Last = last;
        }
    }
}
