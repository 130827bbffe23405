using Etcdserverpb;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>How the whole table is read.</summary>
internal sealed partial class EtcdMembershipTable
{
    // Reading all of 1,000 rows takes about as long; a watch that lags more is not worth waiting for.
    private static readonly TimeSpan WatchLag = TimeSpan.FromMilliseconds(25);

    /// <summary>
    /// Reads the table in one request. Where the version is still that of <paramref name="known"/>, etcd looks at one key and answers
    /// with none of the rows; where it is another, the watch may bring what has changed.
    /// </summary>
    /// <param name="known">What there is no need to read again if it is still so.</param>
    /// <param name="heartbeats">Those to go with it; null to read them.</param>
    /// <param name="epoch">That of the watch, from before <paramref name="known"/> was chosen.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    private async Task<TableRead> ReadAllFromEtcdAsync(Known? known, Heartbeats? heartbeats, int? epoch, CancellationToken cancellationToken)
    {
        var readAt = _etcd.Time.GetTimestamp();
        var watch = known is null ? null : WatchThatKeepsUp();
        // Where there was no version, its absence says nothing of the rows. And what somebody wrote past it is shown by a watch, or found with the next heartbeats.
        if (known is { VersionModRevision: 0 } || (heartbeats is null && watch is null))
            (known, watch) = (null, null);
        var request = new TxnRequest { Compare = { Txn.ModRevisionIs(_layout.VersionKey, known?.VersionModRevision ?? -1) } };
        RequestOp[] alive = heartbeats is null ? [Txn.Get(_layout.AliveRange)] : [];
        RequestOp[] changed = watch is null ? [Txn.Get(_layout.Range), Txn.Get(_layout.AliveRange)] : [Txn.Get(_layout.VersionKey), .. alive];
        request.Success.AddRange(alive);
        request.Failure.AddRange(changed);
        var response = await _etcd.TxnAsync(request, cancellationToken).ConfigureAwait(false);
        if (!response.Succeeded && watch is null)
            return _lastRead = new TableRead(Decode(response, Keys(response, 0, 1), (known ?? NewestKnown(_lastRead))?.Decode()), HeartbeatsIn(1), epoch);
        var image = !response.Succeeded
            ? await CatchUpAsync(watch!, known!, response, cancellationToken).ConfigureAwait(false)
            : known!.IsContinuedBy(response.Header) ? known.Decode() : null;
        // What was known when this began may have been lost since.
        var now = Epoch();
        if (image is null || now != epoch)
            return await ReadAllFromEtcdAsync(known: null, heartbeats: null, now, cancellationToken).ConfigureAwait(false);
        return heartbeats is null
            ? _lastRead = new TableRead(image, HeartbeatsIn(response.Succeeded ? 0 : 1), epoch)
            : new TableRead(image, heartbeats, epoch);

        Heartbeats HeartbeatsIn(int place) => new(_layout, Keys(response, place, 1), readAt, _unreadable.Note);
    }

    /// <summary>
    /// What the watch shows once it has come to the version that was just read: it brings the rows that have changed, where a
    /// read would bring all, and is mostly there within a millisecond. Null where it is not soon, or must not be believed.
    /// </summary>
    /// <remarks>
    /// Every change of a row raises the version, so what is shown at that version is the table as it was read; shown at a later
    /// one it is as it was later, but before this returns. Either was the table's state while the caller waited for it.
    /// </remarks>
    private async Task<MembershipImage?> CatchUpAsync(LiveView watch, Known known, TxnResponse response, CancellationToken cancellationToken)
    {
        var version = Keys(response, 0, 1).SingleOrDefault()?.ModRevision ?? 0;
        // Of one that was restored, or whose version was deleted, the watch has to find that out by itself.
        if (version <= known.VersionModRevision || !known.IsContinuedBy(response.Header))
            return null;
        try
        {
            var shown = await watch.WaitAsync(
                snapshot => snapshot.ClusterId == known.ClusterId && VersionModRevisionOf(snapshot) >= version,
                WatchLag, cancellationToken).ConfigureAwait(false);
            return shown is null ? null : FromView(shown);
        }
        catch (ObjectDisposedException)
        {
            // The silo stops; it may still be asked.
            return null;
        }
    }

    private LiveView? WatchThatKeepsUp()
    {
        lock (_lock)
            return _view is { Snapshot: not null, LastError: null } ? _view : null;
    }

    private MembershipImage Decode(TxnResponse response, IEnumerable<KeyValue> keys, MembershipImage? known) =>
        MembershipImage.Decode(_layout, response.Header.ClusterId, response.Header.Revision, keys, known?.Rows.Length ?? 16, key => known?.Find(key), _unreadable.Note);

    /// <summary>Decodes the rows that a watch brings as they come: a read that is asked for then finds them decoded.</summary>
    private void DecodeArriving(RevisionBatch batch)
    {
        lock (_lock)
        {
            if (batch.IsResync)
            {
                // All of them, of which most are known: whoever reads sees which.
                _arrived.Clear();
                return;
            }

            foreach (var change in batch.Changes)
            {
                if (change.Current is { } row && MembershipImage.DecodeRow(_layout, row, LastDecoded(change.Key)) is { } decoded)
                    _arrived[change.Key] = decoded;
                else
                    _arrived.Remove(change.Key);
            }
        }
    }

    /// <summary>The row under a key as it was decoded last. Under the lock.</summary>
    private MembershipImage.Row? LastDecoded(ByteString key) => _arrived.GetValueOrDefault(key) ?? (_fromView?.Image ?? _lastRead?.Image)?.Find(key);

    /// <summary>The watch's epoch; null as long as it has shown nothing.</summary>
    private int? Epoch()
    {
        lock (_lock)
            return _view?.Snapshot?.Epoch;
    }

    /// <summary>
    /// The newer of what the watch shows and what was read. Their revisions can only be compared within an epoch: when etcd was
    /// restored from a backup, what was read before may be of a write that is lost, and whose revision another write has now.
    /// </summary>
    private Known? NewestKnown(TableRead? read)
    {
        lock (_lock)
        {
            if (_view?.Snapshot is { } snapshot && !(read?.Epoch == snapshot.Epoch && read.Image.Revision >= snapshot.Revision))
                return new Known(VersionModRevisionOf(snapshot), snapshot.Revision, snapshot.ClusterId, () => FromView(snapshot));
        }

        return read is null ? null : new Known(read.Image.VersionModRevision, read.Image.Revision, read.Image.ClusterId, () => read.Image);
    }

    private long VersionModRevisionOf(RangeSnapshot snapshot) => snapshot.Values.GetValueOrDefault(_layout.VersionKey)?.ModRevision ?? 0;

    /// <summary>A state of the table, decoded only once it is needed: it may have changed meanwhile.</summary>
    private sealed record Known(long VersionModRevision, long Revision, ulong ClusterId, Func<MembershipImage> Decode)
    {
        /// <summary>
        /// Whether a linearizable read is of the same etcd: behind what is known, or of another cluster, it is of a restored one,
        /// whose revisions mean something else.
        /// </summary>
        public bool IsContinuedBy(ResponseHeader header) => header.Revision >= Revision && header.ClusterId == ClusterId;
    }

    /// <summary>Rows, and heartbeats read with them or, while the rows stay the same, somewhat before.</summary>
    /// <param name="Image">The rows.</param>
    /// <param name="Heartbeats">The heartbeats.</param>
    /// <param name="Epoch">That of the watch when the read began; null where it had shown nothing yet.</param>
    private sealed record TableRead(MembershipImage Image, Heartbeats Heartbeats, int? Epoch);
}
