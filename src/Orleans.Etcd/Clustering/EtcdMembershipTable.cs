using System.Globalization;
using Etcdserverpb;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Mvccpb;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// Orleans' membership table in etcd.
/// </summary>
/// <remarks>
/// <para>Invariants. (1) A view is of one revision. (2) Every change of a row raises the version by one step in the same
/// transaction, so that an unchanged version means unchanged rows. (3) Insert and update compare the version's and the
/// row's mod_revision; <c>false</c> means that one of them had changed, and nothing else: an outage throws. (4) A heartbeat
/// touches neither the version nor the row, so tokens taken before it stay good. (5) Nothing outside this cluster's
/// keys is touched. (6) What is handed out is the caller's own.</para>
/// <para>A write that got no answer is resolved by sending it again, which the comparisons make harmless, and by the
/// id that it would have left behind; only where another write has covered that too does it throw with
/// <see cref="EtcdException.OutcomeUnknown"/>.</para>
/// </remarks>
internal sealed partial class EtcdMembershipTable : IMembershipTable, IAsyncDisposable, IDisposable
{
    // Reading all of 1,000 rows takes about as long; a watch that lags more is not worth waiting for.
    private static readonly TimeSpan WatchLag = TimeSpan.FromMilliseconds(25);

    private readonly EtcdConnection _etcd;
    private readonly MembershipLayout _layout;
    private readonly ClusterOptions _cluster;
    private readonly TimeSpan _maxHeartbeatAge;
    private readonly TimeSpan _maxJoinAttemptTime;
    private readonly ILogger _logger;
    private readonly object _lock = new();
    private readonly UnreadableValues _unreadable;
    private LiveView? _view;
    private bool _disposed;
    private (RangeSnapshot Snapshot, MembershipImage Image)? _fromView;
    private volatile TableRead? _lastRead;

    public EtcdMembershipTable(EtcdConnection etcd, IOptions<ClusterOptions> cluster, IOptions<ClusterMembershipOptions> membership, ILogger<EtcdMembershipTable> logger)
    {
        _etcd = etcd;
        _cluster = cluster.Value;
        _layout = new MembershipLayout(etcd.Options.KeyPrefix, _cluster);
        // Orleans takes a silo for stale after three missed heartbeats; ours are never older than one.
        _maxHeartbeatAge = membership.Value.IAmAliveTablePublishTimeout;
        _maxJoinAttemptTime = membership.Value.MaxJoinAttemptTime;
        _logger = logger;
        _unreadable = new UnreadableValues(key => Log.Unreadable(_logger, key));
    }

    /// <summary>The rows and the version as the watch shows them.</summary>
    /// <exception cref="InvalidOperationException">The table is not initialised.</exception>
    public LiveView View
    {
        get
        {
            lock (_lock)
            {
                ObjectDisposedException.ThrowIf(_disposed, this);
                return _view ?? throw new InvalidOperationException("The membership table is not initialised.");
            }
        }
    }

    public MembershipLayout Layout => _layout;

    public EtcdConnection Etcd => _etcd;

    public async Task InitializeMembershipTableAsync(bool tryInitTableVersion, CancellationToken cancellationToken = default)
    {
        var started = _etcd.Time.GetTimestamp();
        var backoff = TimeSpan.FromMilliseconds(100);
        EtcdErrorCode? said = null;
        while (true)
        {
            try
            {
                await CreateVersionAsync(tryInitTableVersion, cancellationToken).ConfigureAwait(false);
                break;
            }
            catch (EtcdException exception) when (exception.IsTransient && _etcd.Time.GetElapsedTime(started) + backoff < _maxJoinAttemptTime)
            {
                // Orleans does not retry this, and a silo may well be started before etcd is.
                var remaining = _maxJoinAttemptTime - _etcd.Time.GetElapsedTime(started);
                // Once, and again when it fails in another way; the attempts between are for who looks closely.
                if (said != exception.Code)
                    Log.Waiting(_logger, _layout.Prefix, remaining, exception.Message);
                else
                    Log.StillWaiting(_logger, exception, _layout.Prefix, remaining);
                said = exception.Code;
                await Task.Delay(backoff, _etcd.Time, cancellationToken).ConfigureAwait(false);
                backoff = TimeSpan.FromSeconds(Math.Min(backoff.TotalSeconds * 2, 2));
            }
        }

        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            _view ??= new LiveView(_etcd, _layout.Prefix);
        }

        Log.Ready(_logger, _layout.Prefix, _etcd.Description);
    }

    public async Task<MembershipTableData> ReadAllAsync(CancellationToken cancellationToken = default)
    {
        var known = NewestKnown();
        var heartbeats = _lastRead?.Heartbeats;
        if (heartbeats is null || _etcd.Time.GetElapsedTime(heartbeats.ReadAt) > _maxHeartbeatAge)
            known = null;
        var read = known is null ? null : new TableRead(known, heartbeats!);
        var (image, times) = await ReadAllFromEtcdAsync(read, cancellationToken).ConfigureAwait(false);
        return image.ToTableData(times);
    }

    public async Task<MembershipTableData> ReadRowAsync(SiloAddress key, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(key);
        var request = new TxnRequest { Success = { Txn.Get(_layout.VersionKey), Txn.Get(_layout.RowKey(key)), Txn.Get(_layout.AliveKey(key)) } };
        var response = await _etcd.TxnAsync(request, cancellationToken).ConfigureAwait(false);
        var image = Decode(response, Keys(response, 0, 2), known: null);
        return image.ToTableData(new Heartbeats(_layout, Keys(response, 2, 1), readAt: 0, _unreadable.Note));
    }

    public Task<bool> InsertRowAsync(MembershipEntry entry, TableVersion tableVersion, CancellationToken cancellationToken = default) =>
        WriteRowAsync(entry, expectedRow: 0, tableVersion, cancellationToken);

    public Task<bool> UpdateRowAsync(MembershipEntry entry, string etag, TableVersion tableVersion, CancellationToken cancellationToken = default) =>
        // A token that is none of ours, 0 included, cannot be that of a row that exists.
        ParseETag(etag) is { } row and > 0 ? WriteRowAsync(entry, row, tableVersion, cancellationToken) : Task.FromResult(false);

    public Task UpdateIAmAliveAsync(MembershipEntry entry, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(entry);
        var request = new PutRequest { Key = _layout.AliveKey(entry.SiloAddress), Value = MembershipCodec.Encode(entry.IAmAliveTime) };
        return _etcd.PutRepeatablyAsync(request, cancellationToken);
    }

    public async Task DeleteMembershipTableEntriesAsync(string clusterId, CancellationToken cancellationToken = default)
    {
        if (!string.Equals(clusterId, _cluster.ClusterId, StringComparison.Ordinal))
            throw new ArgumentException($"This table belongs to cluster '{_cluster.ClusterId}' and deletes no other's entries; '{clusterId}' was asked for.", nameof(clusterId));
        await _etcd.TxnAsync(new TxnRequest { Success = { Txn.Delete(_layout.Range), Txn.Delete(_layout.AliveRange) } }, cancellationToken).ConfigureAwait(false);
        Log.Deleted(_logger, _layout.Prefix);
    }

    /// <summary>The version of the table in what the watch showed.</summary>
    public int VersionOf(RangeSnapshot snapshot) => FromView(snapshot).Version.Version;

    public void Dispose()
    {
        if (TakeView() is { } view)
            view.Stop();
    }

    public async ValueTask DisposeAsync()
    {
        if (TakeView() is { } view)
            await view.DisposeAsync().ConfigureAwait(false);
    }

    private static long? ParseETag(string? etag) =>
        long.TryParse(etag, NumberStyles.None, CultureInfo.InvariantCulture, out var modRevision) ? modRevision : null;

    private static IEnumerable<KeyValue> Keys(TxnResponse response, int first, int count) =>
        response.Responses.Skip(first).Take(count).SelectMany(op => op.ResponseRange.Kvs);

    private MembershipImage FromView(RangeSnapshot snapshot)
    {
        lock (_lock)
        {
            if (_fromView is not { } cached || cached.Snapshot != snapshot)
                _fromView = (snapshot, MembershipImage.Decode(_layout, snapshot, _fromView?.Image ?? _lastRead?.Image, _unreadable.Note));
            return _fromView.Value.Image;
        }
    }

    private LiveView? TakeView()
    {
        lock (_lock)
        {
            _disposed = true;
            var view = _view;
            _view = null;
            return view;
        }
    }

    private async Task CreateVersionAsync(bool tryInitTableVersion, CancellationToken cancellationToken)
    {
        if (!tryInitTableVersion)
        {
            await _etcd.RangeAsync(new RangeRequest { Key = _layout.VersionKey }, cancellationToken).ConfigureAwait(false);
            return;
        }

        // Whichever of several silos comes first creates it; for the others, and for a second attempt, it is there.
        var create = new TxnRequest
        {
            Compare = { Txn.ModRevisionIs(_layout.VersionKey, 0) },
            Success = { Txn.Put(_layout.VersionKey, MembershipCodec.Encode(0, NewWriteId())) },
        };
        await _etcd.TxnAsync(create, cancellationToken).ConfigureAwait(false);
    }

    /// <summary>
    /// Reads the table at one revision, in one request. Where the version is still that of <paramref name="known"/>,
    /// etcd looks at one key and answers with none.
    /// </summary>
    private async Task<TableRead> ReadAllFromEtcdAsync(TableRead? known, CancellationToken cancellationToken)
    {
        var readAt = _etcd.Time.GetTimestamp();
        // Where there was no version, its absence says nothing of the rows.
        if (known is { Image.VersionModRevision: 0 })
            known = null;
        var watch = known is null ? null : WatchThatKeepsUp();
        var request = new TxnRequest { Compare = { Txn.ModRevisionIs(_layout.VersionKey, known?.Image.VersionModRevision ?? -1) } };
        RequestOp[] wanted = watch is null ? [Txn.Get(_layout.Range), Txn.Get(_layout.AliveRange)] : [Txn.Get(_layout.VersionKey)];
        request.Failure.AddRange(wanted);
        var response = await _etcd.TxnAsync(request, cancellationToken).ConfigureAwait(false);
        if (response.Succeeded && known is not null)
        {
            // A linearizable read behind what is known, or of another cluster, is of a restored etcd, whose revisions mean
            // something else.
            var same = response.Header.Revision >= known.Image.Revision && response.Header.ClusterId == known.Image.ClusterId;
            return same ? known : await ReadAllFromEtcdAsync(known: null, cancellationToken).ConfigureAwait(false);
        }

        if (watch is not null)
            return await CatchUpAsync(watch, known!, response, cancellationToken).ConfigureAwait(false) ?? await ReadAllFromEtcdAsync(known: null, cancellationToken).ConfigureAwait(false);
        var read = new TableRead(
            Decode(response, Keys(response, 0, 1), known?.Image ?? NewestKnown()),
            new Heartbeats(_layout, Keys(response, 1, 1), readAt, _unreadable.Note));
        _lastRead = read;
        return read;
    }

    /// <summary>
    /// What the watch shows once it has come to the version that was just read: it brings the rows that have changed, where a
    /// read would bring all, and is mostly there within a millisecond. Null where it is not soon, or must not be believed.
    /// </summary>
    /// <remarks>
    /// Every change of a row raises the version, so what is shown at that version is the table as it was read; shown at a later
    /// one it is as it was later, but before this returns. Either was the table's state while the caller waited for it.
    /// </remarks>
    private async Task<TableRead?> CatchUpAsync(LiveView watch, TableRead known, TxnResponse response, CancellationToken cancellationToken)
    {
        var version = Keys(response, 0, 1).SingleOrDefault()?.ModRevision ?? 0;
        var clusterId = response.Header.ClusterId;
        // Of one that was restored, or whose version was deleted, the watch has to find that out by itself.
        if (version <= known.Image.VersionModRevision || response.Header.Revision < known.Image.Revision || clusterId != known.Image.ClusterId)
            return null;
        try
        {
            var shown = await watch.WaitAsync(
                snapshot => snapshot.ClusterId == clusterId && snapshot.Values.GetValueOrDefault(_layout.VersionKey)?.ModRevision >= version,
                WatchLag, cancellationToken).ConfigureAwait(false);
            return shown is null ? null : known with { Image = FromView(shown) };
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
        MembershipImage.Decode(_layout, response.Header.ClusterId, response.Header.Revision, keys, known, _unreadable.Note);

    /// <summary>The newer of what the watch shows and what was read last.</summary>
    private MembershipImage? NewestKnown()
    {
        var read = _lastRead?.Image;
        lock (_lock)
        {
            return _view?.Snapshot is not { } snapshot || (read is not null && read.Revision >= snapshot.Revision) ? read : FromView(snapshot);
        }
    }

    private static string NewWriteId() => Guid.NewGuid().ToString("N");

    /// <summary>Rows, and heartbeats read with them or, while the rows stay the same, somewhat before.</summary>
    private sealed record TableRead(MembershipImage Image, Heartbeats Heartbeats);
}
