using System.Threading.Channels;
using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// A key range as a gap-free sequence of revisions: first its state, then every change.
/// </summary>
/// <remarks>
/// <para>Invariants. (1) Revisions rise strictly within an epoch; none is lost, doubled or reordered. (2) All changes of a
/// revision arrive in one batch. (3) A batch that <see cref="RevisionBatch.IsResync"/> is the difference between the last
/// batch and etcd's state at its revision, deletions included; that happens at start, when history up to the resume
/// point was compacted, and when etcd was restored. (4) Nobody's slowness or failure but the consumer's own delays it.</para>
/// <para>Survives everything: it goes on trying until it or its connection is disposed. A stream that breaks once is opened
/// again at once; from the second failure in a row on <see cref="LastError"/> says what holds it up.</para>
/// </remarks>
internal sealed partial class RangeWatch : IAsyncDisposable
{
    // Beyond this the consumer's slowness is handed to etcd through the stream's flow control.
    private const int BufferedBatches = 256;
    private const int SilentPeriods = 3;
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(100);

    // etcd lets watches that start in the past catch up every 100 ms.
    private static readonly TimeSpan FirstProgress = TimeSpan.FromMilliseconds(150);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(1);

    private readonly EtcdConnection _etcd;
    private readonly string _prefix;
    private readonly ByteString _key;
    private readonly ByteString _rangeEnd;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly Channel<RevisionBatch> _output = Channel.CreateBounded<RevisionBatch>(new BoundedChannelOptions(BufferedBatches) { SingleReader = true, SingleWriter = true });
    private readonly RangeState _state = new();
    private readonly Action? _onError;
    private readonly Task _loop;
    private EtcdEndpoint? _avoided;
    private bool _stale = true;
    private bool _opened;
    private int _refusals;
    private TimeSpan _pause = TimeSpan.Zero;

    /// <summary>Starts watching all keys that begin with <paramref name="prefix"/>, which ends in a slash.</summary>
    /// <param name="etcd">The connection.</param>
    /// <param name="prefix">What the keys begin with.</param>
    /// <param name="onError">Called whenever <see cref="LastError"/> was set, on the watch's own loop; must be quick.</param>
    public RangeWatch(EtcdConnection etcd, string prefix, Action? onError = null)
    {
        _onError = onError;
        _etcd = etcd;
        _prefix = prefix;
        _key = ByteString.CopyFromUtf8(prefix);
        _rangeEnd = EtcdKeys.RangeEnd(prefix);
        _logger = etcd.LoggerFactory.CreateGuarded<RangeWatch>();
        _loop = Detached.Run(RunAsync);
    }

    /// <summary>The batches, in order. One reader. Completes when the watch or its connection is disposed.</summary>
    public ChannelReader<RevisionBatch> Batches => _output.Reader;

    /// <summary>Why the watch does not make progress at the moment; null while it does.</summary>
    public Exception? LastError { get; private set; }

    /// <summary>Asks the watch to end; <see cref="DisposeAsync"/> also waits for that.</summary>
    public void Stop() => _stop.Cancel();

    public async ValueTask DisposeAsync()
    {
        Stop();
        await _loop.ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        while (!_stop.IsCancellationRequested && !_etcd.IsDisposed)
        {
            var recovered = _etcd.Recovered;
            try
            {
                await TryFollowAsync().ConfigureAwait(false);
            }
            catch (Exception exception)
            {
                // A logger that throws does not end the watch.
                LastError = exception;
            }

            await PauseAsync(recovered).ConfigureAwait(false);
        }

        _output.Writer.TryComplete();
    }

    /// <summary>Opens a stream and follows it until it ends in whatever way.</summary>
    private async Task TryFollowAsync()
    {
        EtcdStream<WatchRequest, WatchResponse>? stream = null;
        try
        {
            if (_stale)
                await ReadRangeAsync().ConfigureAwait(false);
            stream = await _etcd.OpenAsync<WatchRequest, WatchResponse>("Watch", static (c, o) => c.WatchClient.Watch(o), _avoided, _stop.Token).ConfigureAwait(false);
            var reason = await FollowAsync(stream).ConfigureAwait(false);
            NoteEnd(stream.Endpoint, reason, new IOException($"The watch on {_prefix} ended: {reason}"));
        }
        catch (Exception) when (_stop.IsCancellationRequested || _etcd.IsDisposed)
        {
            // Ended by its owner.
        }
        catch (Exception exception)
        {
            if (stream is not null)
                Avoid(stream.Endpoint, exception.Message);
            if (stream is not null && exception is TimeoutException)
                _etcd.NoteSilence(stream.Endpoint);
            NoteEnd(stream?.Endpoint, exception.Message, exception);
        }
        finally
        {
            stream?.Dispose();
        }
    }

    /// <summary>Says it once an outage and not once an attempt: the first break quietly, since most are mended at once.</summary>
    private void NoteEnd(EtcdEndpoint? endpoint, string reason, Exception exception)
    {
        if (endpoint is not null && _pause == TimeSpan.Zero)
        {
            Log.Reopening(_logger, _prefix, endpoint.Address, reason, _state.Revision);
            return;
        }

        if (LastError is null && _state.Revision == 0)
            Log.NotYetRead(_logger, _prefix, reason);
        else if (LastError is null)
            Log.Failing(_logger, exception, _prefix);
        else
            Log.StillReopening(_logger, _prefix, endpoint?.Address, reason);
        LastError = exception;
        _onError?.Invoke();
    }

    private async Task PauseAsync(Task recovered)
    {
        // None after the first break.
        var pause = _pause;
        _pause = pause == TimeSpan.Zero ? FirstBackoff : Backoff.Longer(pause, LongestBackoff);
        if (pause > TimeSpan.Zero)
            await _etcd.PauseAsync(pause, recovered, _stop.Token).ConfigureAwait(false);
    }

    private async Task ReadRangeAsync()
    {
        Log.Reading(_logger, _prefix);
        var old = _state.Revision;
        var response = await _etcd.RangeAsync(new RangeRequest { Key = _key, RangeEnd = _rangeEnd }, _stop.Token).ConfigureAwait(false);
        EtcdMeter.WatchResyncs.Add(1);
        if (response.Header.Revision < old)
            Log.Restored(_logger, _prefix, old, response.Header.Revision);
        var batch = _state.Replace(response);
        _stale = false;
        NoteReachable();
        if (batch is not null)
            await _output.Writer.WriteAsync(batch, _stop.Token).ConfigureAwait(false);
    }

    /// <summary>Follows the range on one stream until it ends; answers why.</summary>
    private async Task<string> FollowAsync(EtcdStream<WatchRequest, WatchResponse> stream)
    {
        await stream.WriteAsync(CreateRequest()).WaitAsync(_etcd.Options.RequestTimeout, _etcd.Time).ConfigureAwait(false);
        var pending = new List<Event>();
        var created = false;
        var silent = TimeSpan.Zero;
        var interval = _etcd.Options.WatchProgressInterval;
        // etcd answers the first question for progress only if the watch has caught up by then, and does not say that it has not.
        var between = FirstProgress < interval ? FirstProgress : interval;
        Task<bool>? next = null;
        while (true)
        {
            next ??= stream.MoveNextAsync();
            // What was waited for, and not what time it is: a process that stood still is not the member's silence.
            var left = (SilentPeriods * interval) - silent;
            var patience = !created ? _etcd.Options.RequestTimeout : between < left ? between : left;
            if (!next.IsCompleted)
                await ((Task)next.WaitAsync(patience, _etcd.Time, _stop.Token)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            _stop.Token.ThrowIfCancellationRequested();
            if (!next.IsCompleted)
            {
                silent += patience;
                if (!created || patience == left)
                {
                    _etcd.NoteSilence(stream.Endpoint);
                    return Avoid(stream.Endpoint, "no answer");
                }

                await RequestProgressAsync(stream).ConfigureAwait(false);
                between = Backoff.Longer(between, interval);
                continue;
            }

            if (!await next.ConfigureAwait(false))
                return Avoid(stream.Endpoint, "closed by etcd");
            next = null;
            silent = TimeSpan.Zero;
            _etcd.NoteSign(stream.Endpoint);
            var response = stream.Current;
            if (Refusal(response, stream) is { } refusal)
                return refusal;
            if (response.Created)
            {
                // Its revision is the member's own and says nothing about what has been delivered.
                created = true;
                _refusals = 0;
                if (_opened)
                    EtcdMeter.WatchReopens.Add(1);
                _opened = true;
                await RequestProgressAsync(stream).ConfigureAwait(false);
                continue;
            }

            between = interval;
            pending.AddRange(response.Events);
            if (response.Fragment)
                continue;
            if (pending.Count == 0 && response.Header.Revision < _state.Revision)
            {
                await AskForRestoreAsync().ConfigureAwait(false);
                return Avoid(stream.Endpoint, "behind a revision already seen");
            }

            NoteReachable();
            _pause = TimeSpan.Zero;
            foreach (var batch in _state.Apply(pending))
                await _output.Writer.WriteAsync(batch, _stop.Token).ConfigureAwait(false);
            pending.Clear();
        }
    }

    /// <summary>A member lags behind what was seen elsewhere, or etcd was restored: a linearizable read never lags, and so tells.</summary>
    private async Task AskForRestoreAsync()
    {
        var response = await _etcd.RangeAsync(new RangeRequest { Key = _key, CountOnly = true }, _stop.Token).ConfigureAwait(false);
        _stale = response.Header.Revision < _state.Revision || response.Header.ClusterId != _state.ClusterId;
    }

    private WatchRequest CreateRequest() => new()
    {
        CreateRequest = new WatchCreateRequest
        {
            Key = _key,
            RangeEnd = _rangeEnd,
            // Not the revision after it: were that one compacted to, etcd would accept it and have forgotten its deletions.
            // One revision earlier etcd says that it was compacted; what was seen already is dropped.
            StartRevision = _state.Revision,
            ProgressNotify = true,
            Fragment = true,
        },
    };

    private Task RequestProgressAsync(EtcdStream<WatchRequest, WatchResponse> stream) =>
        stream.WriteAsync(new WatchRequest { ProgressRequest = new WatchProgressRequest() }).WaitAsync(_etcd.Options.RequestTimeout, _etcd.Time);

    /// <summary>Why the watch must start over, or null. Starting over from the compact revision would lose deletions.</summary>
    private string? Refusal(WatchResponse response, EtcdStream<WatchRequest, WatchResponse> stream)
    {
        if (response.Header.ClusterId != _state.ClusterId)
        {
            _stale = true;
            return "another etcd cluster answers";
        }

        if (!response.Canceled)
            return null;
        if (response.CompactRevision > 0)
        {
            _stale = true;
            return $"compacted up to revision {response.CompactRevision}";
        }

        // An expired token is refused here, in band, and a new one goes on where the last stream ended. Where it was
        // something else, such as a lost permission, the read says what.
        if (response.Created || response.WatchId == -1)
            _etcd.Invalidate(stream.Token);
        _stale = ++_refusals > 1;
        return response.CancelReason.Length > 0 ? response.CancelReason : "cancelled by etcd";
    }

    private string Avoid(EtcdEndpoint endpoint, string reason)
    {
        _avoided = endpoint;
        // What broke in between, as a server that restarts does, says nothing of a refusal before it.
        _refusals = 0;
        return reason;
    }

    private void NoteReachable()
    {
        if (LastError is not null)
            Log.Recovered(_logger, _prefix, _state.Revision);
        LastError = null;
    }
}
