using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using System.Text.Json;
using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>This silo's own lease, by which the others see that it lives.</summary>
/// <remarks>
/// Invariant: while etcd can be reached, the silo's key exists and is attached to a lease that this process renews. When
/// the key is deleted or attached to another, as by who takes the silo for dead, it is written again, within a fraction of
/// <see cref="ProcessWatch.Grace"/> where etcd does not make it wait; when the lease is lost, or etcd restored, a new one is
/// made; the silo stays. Given back only when the silo leaves, after the table says that it is dead, or where etcd is another.
/// A process that dies, or is frozen for longer than the TTL, or cut off from etcd for longer, loses it.
/// </remarks>
internal sealed partial class LivenessLease : IAsyncDisposable
{
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan RevokeTimeout = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan BetweenWrites = TimeSpan.FromSeconds(0.05);

    // All of this process, for the gauges.
    private static readonly ConcurrentDictionary<LivenessLease, KeyValuePair<string, object?>> All = new();

    private readonly EtcdConnection _etcd;
    private readonly LiveView _view;
    private readonly TimeSpan _ttl;
    private readonly ByteString _key;
    private readonly ByteString _value;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _tried = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _loop;
    private volatile Grant? _grant;
    private int _disposed;

    /// <param name="etcd">The connection.</param>
    /// <param name="view">All liveness leases of the cluster.</param>
    /// <param name="key">This silo's key.</param>
    /// <param name="siloName">For who looks at the key with etcdctl.</param>
    /// <param name="ttl">The time to live to ask for.</param>
    /// <param name="logger">Told of each lease but the first that had to be made.</param>
    public LivenessLease(EtcdConnection etcd, LiveView view, ByteString key, string siloName, TimeSpan ttl, ILogger<LivenessLease> logger)
    {
        _etcd = etcd;
        _view = view;
        _ttl = ttl;
        _key = key;
        _value = ByteString.CopyFrom(JsonSerializer.SerializeToUtf8Bytes(new LivenessValue { SiloName = siloName }, MembershipJson.Default.LivenessValue));
        _logger = logger.Guarded();
        All.TryAdd(this, new("key", key.ToStringUtf8()));
        _loop = Detached.Run(RunAsync);
    }

    /// <summary>Completes when etcd was asked for the first time, whatever came of it.</summary>
    public Task Tried => _tried.Task;

    /// <summary>Whether there is a lease and etcd has answered the last renewal that was due.</summary>
    public bool IsHeld => _grant?.Lease.State == LeaseState.Held;

    /// <summary>How long until it is taken for lost unless a renewal is answered; zero when there is none.</summary>
    public TimeSpan Remaining => _grant?.Lease.Remaining ?? TimeSpan.Zero;

    /// <summary>The time to live that etcd granted.</summary>
    public TimeSpan Ttl => _grant?.Lease.Ttl ?? _ttl;

    /// <summary>How long this very lease has been held; zero when there is none.</summary>
    public TimeSpan Age => _grant is { } grant && grant.Lease.State is LeaseState.Held or LeaseState.Unknown ? _etcd.Time.GetElapsedTime(grant.Since) : TimeSpan.Zero;

    public static IEnumerable<Measurement<double>> MeasureAll(Func<LivenessLease, TimeSpan> what) =>
        All.Select(lease => new Measurement<double>(what(lease.Key).TotalSeconds, lease.Value));

    /// <summary>Gives the lease back, so that nobody has to wait for its end.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        All.TryRemove(this, out _);
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
        if (_grant is not null)
            await GiveBackAsync(_grant.Lease).ConfigureAwait(false);
        _stop.Dispose();
    }

    private async Task RunAsync()
    {
        var backoff = FirstBackoff;
        for (var told = false; !_stop.IsCancellationRequested && !_etcd.IsDisposed;)
        {
            try
            {
                var first = !_tried.Task.IsCompleted;
                var revision = await MakeAsync().ConfigureAwait(false);
                _tried.TrySetResult();
                // Answered too late, as may be while etcd elects a leader.
                if (_grant!.Lease.State == LeaseState.Lost)
                    continue;
                if (!first)
                    Log.MadeAgain(_logger, _key.ToStringUtf8());
                told = false;
                var grant = _grant;
                await LossAsync(revision).ConfigureAwait(false);
                Log.Gone(_logger, _key.ToStringUtf8());
                // One that was gone as soon as it was made, as after a restore until the watch has noticed it, is a failure.
                if (_etcd.Time.GetElapsedTime(grant.Since) > ShortLife)
                {
                    backoff = FirstBackoff;
                    continue;
                }
            }
            catch (Exception) when (_stop.IsCancellationRequested || _etcd.IsDisposed)
            {
                break;
            }
            catch (Exception exception)
            {
                _tried.TrySetResult();
                if (!told)
                    Log.NotMade(_logger, _key.ToStringUtf8(), exception.Message);
                told = true;
            }

            await Task.Delay(Backoff.Jittered(backoff), _etcd.Time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            backoff = Backoff.Longer(backoff, LongestBackoff);
        }

        _tried.TrySetResult();
    }

    /// <summary>Makes a lease and attaches the key to it; answers the revision at which that was so.</summary>
    private async Task<(long Revision, int? Epoch)> MakeAsync()
    {
        var epoch = _view.Snapshot?.Epoch;
        var lease = await _etcd.Leases.GrantAsync(_ttl, _stop.Token).ConfigureAwait(false);
        try
        {
            var revision = await PutAsync(lease, _stop.Token).ConfigureAwait(false);
            _grant = new Grant(lease, _etcd.Time.GetTimestamp());
            return (revision, epoch);
        }
        catch
        {
            await GiveBackAsync(lease).ConfigureAwait(false);
            throw;
        }
    }

    private async Task<long> PutAsync(EtcdLease lease, CancellationToken cancellationToken) =>
        (await _etcd.PutRepeatablyAsync(new PutRequest { Key = _key, Value = _value, Lease = lease.Id }, cancellationToken).ConfigureAwait(false)).Header.Revision;

    private async Task GiveBackAsync(EtcdLease lease)
    {
        using var limit = new CancellationTokenSource(RevokeTimeout);
        try
        {
            await lease.RevokeAsync(limit.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is EtcdException or OperationCanceledException or ObjectDisposedException)
        {
            Log.LeftToExpire(_logger, exception.Message);
        }
    }

    /// <summary>Waits until the lease is lost, or the key no longer hangs on it and cannot be attached to it again.</summary>
    private async Task LossAsync((long Revision, int? Epoch) made)
    {
        var lease = _grant!.Lease;
        using var lost = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token, lease.Lost);
        try
        {
            while (true)
            {
                var since = _etcd.Time.GetTimestamp();
                var view = await _view.WaitAsync(view => (view.Revision >= made.Revision || IsOther(view)) && !IsAttached(view, lease.Id), lost.Token).ConfigureAwait(false);
                // Not over and over without a pause, as where the watch is older than the restore of an etcd.
                if (_etcd.Time.GetElapsedTime(since) <= ShortLife)
                    await Task.Delay(BetweenWrites, _etcd.Time, lost.Token).ConfigureAwait(false);
                if (IsOther(view) || await AttachAsync(lease, lost.Token).ConfigureAwait(false) is not { } again)
                    break;
                Log.Attached(_logger, _key.ToStringUtf8());
                made = again;
            }

            await GiveBackAsync(lease).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (lease.Lost.IsCancellationRequested)
        {
        }

        bool IsOther(RangeSnapshot view) => made.Epoch is not null && view.Epoch != made.Epoch;
    }

    /// <summary>Writes the key again, as soon as etcd lets it; null where etcd does not have the lease any more.</summary>
    private async Task<(long Revision, int? Epoch)?> AttachAsync(EtcdLease lease, CancellationToken cancellationToken)
    {
        while (true)
        {
            var epoch = _view.Snapshot?.Epoch;
            try
            {
                return (await PutAsync(lease, cancellationToken).ConfigureAwait(false), epoch);
            }
            catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
            {
                return null;
            }
            catch (EtcdException)
            {
                await Task.Delay(Backoff.Jittered(FirstBackoff), _etcd.Time, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private bool IsAttached(RangeSnapshot view, long leaseId) => view.Values.TryGetValue(_key, out var value) && value.Lease == leaseId;

    private sealed record Grant(EtcdLease Lease, long Since);

    private static partial class Log
    {
        [LoggerMessage(72, LogLevel.Warning, "Liveness lease {Key} cannot be made; it is tried again, and until then other silos cannot see that this one lives. {Reason}")]
        public static partial void NotMade(ILogger logger, string key, string reason);

        [LoggerMessage(73, LogLevel.Warning, "Liveness lease {Key} is gone; another is made")]
        public static partial void Gone(ILogger logger, string key);

        [LoggerMessage(77, LogLevel.Warning, "Liveness key {Key} was taken away, as from a silo that refuses connections, while its lease lives; it is written again")]
        public static partial void Attached(ILogger logger, string key);

        [LoggerMessage(74, LogLevel.Information, "Liveness lease {Key} is held again")]
        public static partial void MadeAgain(ILogger logger, string key);

        [LoggerMessage(75, LogLevel.Information, "The liveness lease could not be given back and is left to expire. {Reason}")]
        public static partial void LeftToExpire(ILogger logger, string reason);
    }
}
