using System.Globalization;
using Etcdserverpb;
using Google.Protobuf;
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
    // Rows that have come since an image of the view was made last, of those that there are.
    private readonly Dictionary<ByteString, MembershipImage.Row> _arrived = [];

    public EtcdMembershipTable(EtcdConnection etcd, IOptions<ClusterOptions> cluster, IOptions<ClusterMembershipOptions> membership, ILogger<EtcdMembershipTable> logger)
    {
        _etcd = etcd;
        _cluster = cluster.Value;
        _layout = new MembershipLayout(etcd.Options.KeyPrefix, _cluster);
        // Orleans takes a silo for stale after three missed heartbeats; ours are never older than one.
        _maxHeartbeatAge = membership.Value.IAmAliveTablePublishTimeout;
        _maxJoinAttemptTime = membership.Value.MaxJoinAttemptTime;
        _logger = logger.Guarded();
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
            _view ??= new LiveView(_etcd, _layout.Prefix, DecodeArriving);
        }

        Log.Ready(_logger, _layout.Prefix, _etcd.Description);
    }

    public async Task<MembershipTableData> ReadAllAsync(CancellationToken cancellationToken = default)
    {
        var epoch = Epoch();
        var last = _lastRead;
        // The first time all is read, whoever wrote it and however.
        var known = last is null ? null : NewestKnown(last);
        // Those of another epoch may have been lost with it.
        var heartbeats = last is not null && last.Epoch == epoch && _etcd.Time.GetElapsedTime(last.Heartbeats.ReadAt) <= _maxHeartbeatAge ? last.Heartbeats : null;
        var (image, times, _) = await ReadAllFromEtcdAsync(known, heartbeats, epoch, cancellationToken).ConfigureAwait(false);
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
        IsWrittenAsync(WriteRowAsync(entry, expectedRow: 0, tableVersion, cancellationToken));

    public Task<bool> UpdateRowAsync(MembershipEntry entry, string etag, TableVersion tableVersion, CancellationToken cancellationToken = default) =>
        // A token that is none of ours, 0 included, cannot be that of a row that exists.
        ParseETag(etag) is { } row and > 0 ? IsWrittenAsync(WriteRowAsync(entry, row, tableVersion, cancellationToken)) : Task.FromResult(false);

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
            {
                _fromView = (snapshot, MembershipImage.Decode(
                    _layout, snapshot.ClusterId, snapshot.Revision, snapshot.Values.Values, snapshot.Values.Count, LastDecoded, _unreadable.Note));
                _arrived.Clear();
            }

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

    private static string NewWriteId() => Guid.NewGuid().ToString("N");
}
