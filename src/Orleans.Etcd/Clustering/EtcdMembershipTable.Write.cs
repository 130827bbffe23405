using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>How a row is written, and how it is found out which of several attempts has done it.</summary>
internal sealed partial class EtcdMembershipTable
{
    private enum WriteResult
    {
        Written,

        /// <summary>Another had written first.</summary>
        Overtaken,

        /// <summary>Something else was not so.</summary>
        Unfit,
    }

    private static async Task<bool> IsWrittenAsync(Task<WriteResult> write) => await write.ConfigureAwait(false) == WriteResult.Written;

    /// <param name="entry">The row.</param>
    /// <param name="expectedRow">The revision that it has; 0 where there is none.</param>
    /// <param name="tableVersion">The version that it makes.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <param name="also">What else has to be so for it to be written.</param>
    private async Task<WriteResult> WriteRowAsync(MembershipEntry entry, long expectedRow, TableVersion tableVersion, CancellationToken cancellationToken, Compare? also = null)
    {
        ArgumentNullException.ThrowIfNull(tableVersion);
        var writeId = NewWriteId();
        var value = MembershipCodec.Encode(entry, writeId);
        if (ParseETag(tableVersion.VersionEtag) is not { } expectedVersion)
            return WriteResult.Overtaken;

        var row = _layout.RowKey(entry.SiloAddress);
        var request = new TxnRequest
        {
            Compare = { Txn.ModRevisionIs(_layout.VersionKey, expectedVersion), Txn.ModRevisionIs(row, expectedRow) },
            Success = { Txn.Put(_layout.VersionKey, MembershipCodec.Encode(tableVersion.Version, writeId)), Txn.Put(row, value) },
            Failure = { Txn.Get(_layout.VersionKey), Txn.Get(row) },
        };
        if (also is not null)
            request.Compare.Add(also);
        var mayBeApplied = false;
        // Both tokens are revisions, which never come back: whichever attempt finds them, no other is applied after it, unless it
        // was refused for what else has to be so.
        var response = await _etcd.TxnRepeatablyAsync(request, cancellationToken, Unanswered, insists: true).ConfigureAwait(false);
        if (response.Succeeded || (mayBeApplied && WasOurs(response, row, expectedRow, expectedVersion, tableVersion.Version, writeId)))
            return WriteResult.Written;
        if (also is not null && Keys(response, 0, 1).FirstOrDefault()?.ModRevision == expectedVersion && Keys(response, 1, 1).FirstOrDefault()?.ModRevision == expectedRow)
        {
            // An attempt that is still under way may find it so.
            return mayBeApplied ? throw Unresolved(row, "What else it depends on was not so in the meantime.") : WriteResult.Unfit;
        }

        EtcdMeter.Conflicts.Add(1);
        return WriteResult.Overtaken;

        void Unanswered()
        {
            if (!mayBeApplied)
                Log.Resolving(_logger, _layout.Prefix);
            mayBeApplied = true;
        }
    }

    /// <summary>
    /// After an attempt without an answer, another one found the tokens changed: by that attempt, or by another writer?
    /// </summary>
    private bool WasOurs(TxnResponse failed, ByteString rowKey, long expectedRow, long expectedVersion, int written, string writeId)
    {
        var image = Decode(failed, Keys(failed, 0, 2), known: null);
        var row = Keys(failed, 1, 1).FirstOrDefault();
        if (image.VersionWriteId == writeId || (row is not null && MembershipCodec.TryDecodeWriteId(row) == writeId))
            return true;
        // An absent row may have been written and removed again. Only where the table, in the same life, has made no more
        // than the one step is it certain that this step was another's.
        var stepOfAnother = Keys(failed, 0, 1).FirstOrDefault() is { } version && version.CreateRevision <= expectedVersion && image.Version.Version == written;
        if ((row?.ModRevision ?? 0) == expectedRow && (expectedRow > 0 || stepOfAnother))
            return false;
        throw Unresolved(rowKey, "The table has since been written by another silo.");
    }

    private static EtcdException Unresolved(ByteString rowKey, string why) => new(
        EtcdErrorCode.Timeout,
        "Txn",
        $"A write of the membership row {rowKey.ToStringUtf8()} got no answer and may have been applied. Read the table to see what holds. {why}",
        outcomeUnknown: true);
}
