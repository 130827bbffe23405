using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

internal sealed partial class EtcdMembershipTable
{
    // etcd allows 128 comparisons and 128 operations; a silo takes two of each, the version one. And 1.5 MiB in all: a key
    // can be long, and each of a silo's two is there twice.
    private const int SilosPerCleanup = 60;
    private const int KeyBytesPerCleanup = 1_000_000;

    /// <summary>
    /// Removes rows of dead silos whose last sign of life or vote lies strictly before the cutoff. Each step is one
    /// transaction, guarded by the version and by each silo's row and heartbeat, so several silos may do it at once.
    /// </summary>
    public async Task CleanupDefunctSiloEntriesAsync(DateTimeOffset beforeDate, CancellationToken cancellationToken = default)
    {
        var removed = 0;
        while (true)
        {
            var (image, heartbeats, _) = await ReadAllFromEtcdAsync(known: null, heartbeats: null, Epoch(), cancellationToken).ConfigureAwait(false);
            var defunct = image.Rows
                .Where(row => row.Entry.Status == SiloStatus.Dead && LastUpdate(row, heartbeats) < beforeDate.UtcDateTime)
                .Take(Math.Clamp(KeyBytesPerCleanup / (4 * _layout.LongestKey), 1, SilosPerCleanup))
                .ToList();
            if (defunct.Count == 0)
                break;

            var request = new TxnRequest { Compare = { Txn.ModRevisionIs(_layout.VersionKey, image.VersionModRevision) } };
            request.Success.Add(Txn.Put(_layout.VersionKey, MembershipCodec.Encode(image.Version.Next().Version, NewWriteId())));
            foreach (var row in defunct)
            {
                var alive = _layout.AliveKey(row.Entry.SiloAddress);
                request.Compare.Add(Txn.ModRevisionIs(row.Key, row.ModRevision));
                request.Compare.Add(Txn.ModRevisionIs(alive, heartbeats.ModRevision(row)));
                request.Success.Add(Txn.Delete(row.Key));
                request.Success.Add(Txn.Delete(alive));
            }

            var response = await _etcd.TxnAsync(request, cancellationToken).ConfigureAwait(false);
            if (response.Succeeded)
                removed += defunct.Count;
        }

        await RemoveStrayHeartbeatsAsync(beforeDate, cancellationToken).ConfigureAwait(false);
        if (removed > 0)
            Log.CleanedUp(_logger, _layout.Prefix, removed);
    }

    /// <summary>Removes heartbeats without a row, which a silo leaves that was frozen while it was cleaned up.</summary>
    private async Task RemoveStrayHeartbeatsAsync(DateTimeOffset beforeDate, CancellationToken cancellationToken)
    {
        var read = await _etcd.TxnAsync(new TxnRequest { Success = { Txn.Get(_layout.Range), Txn.Get(_layout.AliveRange) } }, cancellationToken).ConfigureAwait(false);
        var rows = Keys(read, 0, 1).Select(kv => kv.Key).ToHashSet();
        foreach (var heartbeat in Keys(read, 1, 1))
        {
            var rowKey = ByteString.CopyFrom([.. _layout.SilosPrefix.Span, .. heartbeat.Key.Span[_layout.AlivePrefix.Length..]]);
            if (rows.Contains(rowKey) || SiloRowReader.TryReadHeartbeat(heartbeat.Value.Span) is not { } time || Utc(time) >= beforeDate.UtcDateTime)
                continue;
            await _etcd.TxnAsync(
                new TxnRequest
                {
                    Compare = { Txn.ModRevisionIs(heartbeat.Key, heartbeat.ModRevision), Txn.ModRevisionIs(rowKey, 0) },
                    Success = { Txn.Delete(heartbeat.Key) },
                },
                cancellationToken).ConfigureAwait(false);
        }
    }

    private static DateTime LastUpdate(MembershipImage.Row row, Heartbeats heartbeats)
    {
        var last = Later(Utc(row.Entry.StartTime), Utc(heartbeats.LatestTime(row)));
        foreach (var vote in row.Entry.SuspectTimes ?? [])
            last = Later(last, Utc(vote.Item2));
        return last;
    }

    private static DateTime Later(DateTime a, DateTime b) => a > b ? a : b;

    // Orleans writes UTC throughout, whatever the kind says.
    private static DateTime Utc(DateTime time) => DateTime.SpecifyKind(time, DateTimeKind.Utc);
}
