using System.Collections.Immutable;
using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>Changes a namespace: one transaction a commit, with a record of it.</summary>
/// <remarks>
/// Invariant: a commit is applied as a whole or not at all, once, and its record with it. The number of the record is the one after the
/// highest: of two that take the same one only one is applied, and the other takes the next. The last record that is remembered here, for as
/// long as a call may take, only saves a read: a commit is applied where that is there as it was, and none after it; else etcd says which is the last.
/// </remarks>
internal sealed partial class ConfigWriter(EtcdConnection etcd, ConfigLayout layout, int historyLimit)
{
    public const int MostEdits = 3000;
    public const int MostExpected = 60;

    // Of a transaction in the transaction: etcd takes 128 operations by default, those of both levels together.
    private const int Chunk = 60;

    // Kept once more in the record; more would make a large value too large.
    private const int MostKept = 256 * 1024;
    private const int MostInRequest = 1400 * 1024;
    private const int LongestAuthor = 256;
    private const int LongestReason = 1024;
    private const int MostRead = 1000;

    // The numbers of keys have twelve digits.
    private const long HighestSequence = 999_999_999_999;

    private volatile Memory? _memory;

    public Task<ConfigCommitResult> CommitAsync(ConfigCommit commit) => CommitAsync(commit, guard: null);

    private async Task<ConfigCommitResult> CommitAsync(ConfigCommit commit, Guard? guard)
    {
        Check(commit);
        // A rollback brings back what others have written as well.
        var edits = commit.Edits.Select(edit => (Key: guard is null ? layout.Key(edit.Key) : layout.KeyOf(edit.Key), Edit: edit)).ToArray();
        var expected = edits.Where(one => one.Edit.ExpectedRevision is not null).ToArray();
        var record = Record(commit).Encode();
        var started = etcd.Time.GetTimestamp();
        while (true)
        {
            var mayBeApplied = false;
            var last = guard?.Last ?? Remembered() ?? await ReadLastAsync().ConfigureAwait(false);
            var sequence = last.Sequence + 1;
            var (lastKey, key) = (layout.HistoryKey(last.Sequence), layout.HistoryKey(sequence));
            // Nor any after it: its own record may be gone again, when its answer was lost, or is late, and many came after it.
            var from = layout.Numbers;
            from.Key = key;
            var txn = new TxnRequest { Compare = { Txn.NoneCreatedAfter(from, 0) }, Failure = { Txn.Get(key), NewestKey(from), Txn.Get(new RangeRequest { Key = lastKey, KeysOnly = true }) } };
            if (last.Sequence > 0)
                txn.Compare.Add(Txn.CreateRevisionIs(lastKey, last.Revision));
            txn.Compare.AddRange(expected.Select(one => Txn.ModRevisionIs(one.Key, one.Edit.ExpectedRevision!.Value)));
            txn.Failure.AddRange(expected.Select(one => Txn.Get(one.Key)));
            if (guard is not null)
            {
                txn.Compare.Add(Txn.NoneModifiedAfter(Txn.Range(layout.Prefix), guard.Revision));
                txn.Failure.Add(new RequestOp { RequestRange = Txn.Range(layout.Prefix) });
            }

            txn.Success.AddRange(Nested([.. edits.Select(one => one.Edit.Content is { } content ? Txn.Put(one.Key, UnsafeByteOperations.UnsafeWrap(content)) : Txn.Delete(one.Key))]));
            txn.Success.Add(Txn.Put(key, record));
            if (sequence > historyLimit)
                txn.Success.Add(Txn.Delete(new RangeRequest { Key = ByteString.CopyFromUtf8(layout.HistoryPrefix), RangeEnd = layout.HistoryKey(sequence - historyLimit + 1) }));
            TxnResponse response;
            try
            {
                response = await etcd.TxnRepeatablyAsync(txn, CancellationToken.None, () => mayBeApplied = true).ConfigureAwait(false);
            }
            catch
            {
                // As long as etcd is away the next ones fail by their read, which leaves nothing behind that may be applied later.
                _memory = null;
                throw;
            }

            if (response.Succeeded)
                return Committed(response.Header.Revision);
            // It was applied, and the answer to the first attempt was lost.
            var there = response.Responses[0].ResponseRange.Kvs.FirstOrDefault();
            if (there is not null && there.Value.Equals(record))
                return Committed(there.CreateRevision);
            var since = response.Responses[1].ResponseRange;
            var isAsKnown = last.Sequence == 0 || response.Responses[2].ResponseRange.Kvs.FirstOrDefault()?.CreateRevision == last.Revision;
            if (mayBeApplied && there is null && (since.Kvs.Count > 0 || !isAsKnown))
                throw new EtcdException(EtcdErrorCode.Unavailable, "Txn", $"The history of namespace '{layout.Name}' was changed while this commit was made, and whether it was made first is not known any more.", outcomeUnknown: true);
            for (var i = 0; i < expected.Length; i++)
            {
                var now = response.Responses[i + 3].ResponseRange.Kvs.FirstOrDefault();
                var edit = expected[i].Edit;
                if ((now?.ModRevision ?? 0) != edit.ExpectedRevision)
                    return new ConfigCommitResult(0, new ConfigConflict(edit.Key, edit.ExpectedRevision!.Value, now is null ? null : ConfigValue.Of(edit.Key, now, layer: null)));
            }

            // Another one has taken the number, or the last record is another one than was remembered.
            if (since.Kvs.Count > 0)
                last = Last(since);
            else if (!isAsKnown)
                last = await ReadLastAsync().ConfigureAwait(false);
            Remember(last);
            if (guard is not null)
            {
                guard.Learn(response, last);
                return new ConfigCommitResult(0, new ConfigConflict("", 0, null));
            }

            if (etcd.Time.GetElapsedTime(started) > MostTime)
                throw new EtcdException(EtcdErrorCode.Timeout, "Txn", $"Namespace '{layout.Name}' is committed to all the time: each attempt of this commit met another one.", outcomeUnknown: false);

            ConfigCommitResult Committed(long revision)
            {
                Remember(new LastRecord(sequence, revision));
                return new ConfigCommitResult(revision, null);
            }
        }
    }

    public async Task<ImmutableArray<ConfigHistoryEntry>> HistoryAsync(int limit, long before)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(limit, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(limit, MostRead);
        return [.. (await RecordsAsync(limit, before).ConfigureAwait(false)).Select(one => new ConfigHistoryEntry(
            one.Sequence, one.Revision, one.Record.Time, one.Record.Author, one.Record.Reason, [.. one.Record.Edits.Select(edit => edit.Key)]))];
    }

    private async Task<List<(long Sequence, long Revision, ConfigRecord Record)>> RecordsAsync(int limit, long before)
    {
        var range = Newest(limit);
        if (before < long.MaxValue)
            range.RangeEnd = layout.HistoryKey(before);
        var response = await etcd.RangeAsync(range, CancellationToken.None).ConfigureAwait(false);
        var records = new List<(long, long, ConfigRecord)>();
        foreach (var kv in response.Kvs)
        {
            if (layout.SequenceOf(kv.Key) is { } sequence && ConfigRecord.Decode(kv.Value) is { } record)
                records.Add((sequence, kv.CreateRevision, record));
        }

        return records;
    }

    private TimeSpan MostTime => etcd.Options.RequestTimeout * 2;

    /// <summary>Of the newest record.</summary>
    private RequestOp NewestKey() => NewestKey(layout.Numbers);

    private static RequestOp NewestKey(RangeRequest among)
    {
        var range = Newest(among.Clone(), limit: 1);
        range.KeysOnly = true;
        return new RequestOp { RequestRange = range };
    }

    private async Task<LastRecord> ReadLastAsync() => Last(await etcd.RangeAsync(NewestKey().RequestRange, CancellationToken.None).ConfigureAwait(false));

    private LastRecord Last(RangeResponse newest)
    {
        if (newest.Kvs is not [var record, ..])
            return new LastRecord(0, 0);
        return layout.SequenceOf(record.Key) is { } sequence && sequence < HighestSequence && layout.HistoryKey(sequence).Equals(record.Key)
            ? new LastRecord(sequence, record.CreateRevision)
            : throw new InvalidOperationException($"{record.Key.ToStringUtf8()} is in the history of namespace '{layout.Name}' and was not put there by a commit. Delete it with another tool.");
    }

    private void Remember(LastRecord last) => _memory = new Memory(last, etcd.Time.GetTimestamp());

    /// <summary>Not older than what may come while an answer is lost: of that the history keeps all, and so whether a commit is in it.</summary>
    private LastRecord? Remembered() => _memory is { } memory && etcd.Time.GetElapsedTime(memory.At) < MostTime ? memory.Last : null;

    private RangeRequest Newest(int limit) => Newest(layout.Numbers, limit);

    private static RangeRequest Newest(RangeRequest range, int limit)
    {
        range.Limit = limit;
        (range.SortOrder, range.SortTarget) = (RangeRequest.Types.SortOrder.Descend, RangeRequest.Types.SortTarget.Key);
        return range;
    }

    private static void Check(ConfigCommit commit)
    {
        ArgumentNullException.ThrowIfNull(commit);
        if (commit.Edits.IsDefaultOrEmpty)
            throw new ArgumentException("A commit has at least one edit.", nameof(commit));
        if (commit.Edits.Length > MostEdits)
            throw new ArgumentException($"A commit has {commit.Edits.Length} edits; at most {MostEdits} are made at once.", nameof(commit));
        if (commit.Edits.Count(edit => edit.ExpectedRevision is not null) is var count and > MostExpected)
            throw new ArgumentException($"{count} edits of the commit expect a revision; at most {MostExpected} can be compared at once.", nameof(commit));
        if (commit.Edits.FirstOrDefault(edit => edit.ExpectedRevision < 0) is { } negative)
            throw new ArgumentException($"The revision expected of '{negative.Key}' is negative.", nameof(commit));
        if (commit.Edits.GroupBy(edit => edit.Key, StringComparer.Ordinal).FirstOrDefault(group => group.Count() > 1) is { } twice)
            throw new ArgumentException($"The commit has two edits of '{twice.Key}'.", nameof(commit));
        CheckText(commit.Author, nameof(commit.Author), LongestAuthor);
        CheckText(commit.Reason, nameof(commit.Reason), LongestReason);
    }

    private static void CheckText(string? text, string name, int longest)
    {
        if (text is not null && (text.Length > longest || !EtcdKeys.IsUtf8(text)))
            throw new ArgumentException($"{name} must be valid Unicode of at most {longest} characters.", name);
    }

    private ConfigRecord Record(ConfigCommit commit)
    {
        var record = new ConfigRecord { Id = Guid.NewGuid(), Time = etcd.Time.GetUtcNow(), Author = commit.Author, Reason = commit.Reason };
        var (kept, all) = (0, commit.Edits.Sum(edit => edit.Key.Length + (edit.Content?.Length ?? 0)));
        foreach (var edit in commit.Edits)
        {
            // In base64 it is a third more.
            var fits = edit.Content is { } content && kept + content.Length <= MostKept && all + ((kept + content.Length) * 4 / 3) <= MostInRequest;
            kept += fits ? edit.Content!.Length : 0;
            record.Edits.Add(new ConfigRecordEdit { Key = edit.Key, Deleted = edit.IsDeletion, Value = fits ? edit.Content : null });
        }

        return record;
    }

    private static IEnumerable<RequestOp> Nested(RequestOp[] operations) => operations.Length <= Chunk
        ? operations
        : operations.Chunk(Chunk).Select(static chunk => new RequestOp { RequestTxn = new TxnRequest { Success = { chunk } } });

    /// <summary>The newest record; number 0 where there is none.</summary>
    private sealed record LastRecord(long Sequence, long Revision);

    private sealed record Memory(LastRecord Last, long At);

    private string Name(ByteString key) => layout.NameOf(key) ?? throw new InvalidOperationException($"A key under {layout.Prefix} is not UTF-8: {key.ToBase64()} (base64). Delete it with another tool.");
}
