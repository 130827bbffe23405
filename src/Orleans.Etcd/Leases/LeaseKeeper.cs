using System.Threading.Channels;
using Etcdserverpb;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// Grants leases and renews all of a process over one stream, each every third of its TTL.
/// </summary>
/// <remarks>
/// A stream on which a renewal stays unanswered for too long, or that ends in any way, is given up and another opened
/// at once, on another member if there is one, with backoff from the second time on. The time allowed for an answer is
/// well below a third of the TTL, so that several members can be tried before a lease is lost.
/// </remarks>
internal sealed partial class LeaseKeeper(EtcdConnection connection) : ILeaseKeeper, IAsyncDisposable
{
    private readonly object _lock = new();
    private readonly Dictionary<long, EtcdLease> _leases = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly ILogger _logger = connection.LoggerFactory.CreateGuarded<LeaseKeeper>();
    private readonly TimeProvider _time = connection.Time;
    // The owner has been told by then, and had a second for what it does about it; and etcd itself might have expired the lease.
    internal static readonly TimeSpan TimeToLetGo = TimeSpan.FromSeconds(1.5);

    private readonly Channel<(long LeaseId, long Lost)> _forgone = Channel.CreateUnbounded<(long, long)>(new() { SingleReader = true });
    private TaskCompletionSource _wake = NewWake();
    private Task? _loop;
    private Task? _revoking;

    /// <summary>Grants a lease and keeps it alive until it is revoked or lost.</summary>
    /// <param name="ttl">Rounded up to whole seconds; at least 1 s. etcd may grant more (it makes 1 s into 2 s).</param>
    /// <param name="cancellationToken">Ends the wait; a lease granted unseen expires by itself.</param>
    /// <exception cref="EtcdException">etcd did not grant it.</exception>
    public async Task<EtcdLease> GrantAsync(TimeSpan ttl, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ttl, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ttl, TimeSpan.FromDays(365));
        var seconds = (long)Math.Ceiling(ttl.TotalSeconds);
        var request = new LeaseGrantRequest { ID = Random.Shared.NextInt64(1, long.MaxValue), TTL = seconds };
        var sent = _time.GetTimestamp();
        var response = await connection.GrantAsync(request, cancellationToken).ConfigureAwait(false);
        var lease = new EtcdLease(this, _time, request.ID, TimeSpan.FromSeconds(response.TTL), sent);
        lock (_lock)
        {
            // The answer may have come after the deadline: then it is not ours to renew.
            if (!_stop.IsCancellationRequested && !lease.HasEnded)
                _leases.Add(lease.Id, lease);
            if (!_stop.IsCancellationRequested)
                _loop ??= Detached.Run(RunAsync);
            _wake.TrySetResult();
        }

        if (!_stop.IsCancellationRequested)
            return lease;
        // Closed meanwhile; whether or not that has ended it yet.
        lease.Abandon();
        throw new ObjectDisposedException(nameof(EtcdConnection));
    }

    public void Remove(EtcdLease lease)
    {
        lock (_lock)
            _leases.Remove(lease.Id);
    }

    public async Task RevokeAsync(long leaseId, CancellationToken cancellationToken)
    {
        try
        {
            await connection.RevokeAsync(leaseId, cancellationToken).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (exception.Code == EtcdErrorCode.LeaseNotFound)
        {
            // Expired meanwhile, or the first of two attempts had revoked it.
        }
    }

    public void LeftToExpire(EtcdLease lease, Exception exception) => Log.LeftToExpire(_logger, exception, lease.Id);

    public void Announce(EtcdLease lease, CancellationTokenSource lost, LeaseLoss reason)
    {
        ThreadPool.UnsafeQueueUserWorkItem(
            _ =>
            {
                try
                {
                    lost.Cancel();
                }
                catch (AggregateException exception)
                {
                    Log.CallbackFailed(_logger, exception, lease.Id);
                }

                if (reason == LeaseLoss.NotRenewed)
                    Forgo(lease);
                Report(lease, reason);
            },
            null);
    }

    public void Stop()
    {
        _stop.Cancel();
        foreach (var lease in Snapshot())
            lease.Abandon();
    }

    public async ValueTask DisposeAsync()
    {
        Stop();
        if (_loop is not null)
            await _loop.ConfigureAwait(false);
        if (_revoking is not null)
            await _revoking.ConfigureAwait(false);
        _stop.Dispose();
    }

    private void Report(EtcdLease lease, LeaseLoss reason)
    {
        if (reason == LeaseLoss.ConnectionClosed)
        {
            Log.Closed(_logger, lease.Id);
            return;
        }

        EtcdMeter.LeasesLost.Add(1);
        if (reason == LeaseLoss.Gone)
            Log.Gone(_logger, lease.Id);
        else
            Log.Lost(_logger, lease.Id, lease.Ttl);
    }

    /// <summary>
    /// Has a lease revoked that was lost for want of an answer. The outage ends with a new leader, who lets every lease live for
    /// one more TTL: all that time its keys would stand in others' way, though their owner has long been told that they are lost.
    /// </summary>
    private void Forgo(EtcdLease lease)
    {
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
                return;
            _forgone.Writer.TryWrite((lease.Id, _time.GetTimestamp()));
            _revoking ??= Detached.Run(RevokeForgoneAsync);
        }
    }

    private async Task RevokeForgoneAsync()
    {
        var pause = LeastBackoff;
        try
        {
            await foreach (var (leaseId, lost) in _forgone.Reader.ReadAllAsync(_stop.Token).ConfigureAwait(false))
            {
                if (TimeToLetGo - _time.GetElapsedTime(lost) is var left && left > TimeSpan.Zero)
                    await Task.Delay(left, _time, _stop.Token).ConfigureAwait(false);
                while (!await TryRevokeAsync(leaseId).ConfigureAwait(false))
                {
                    await Task.Delay(Backoff.Jittered(pause), _time, _stop.Token).ConfigureAwait(false);
                    pause = Backoff.Longer(pause, MostBackoff);
                }

                pause = LeastBackoff;
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // Those that are left expire.
        }
    }

    /// <summary>Whether there is nothing left to be done.</summary>
    private async Task<bool> TryRevokeAsync(long leaseId)
    {
        try
        {
            await RevokeAsync(leaseId, _stop.Token).ConfigureAwait(false);
            return true;
        }
        catch (EtcdException exception)
        {
            return !exception.IsTransient;
        }
        catch (ObjectDisposedException)
        {
            return true;
        }
    }

    private EtcdLease[] Snapshot()
    {
        lock (_lock)
            return [.. _leases.Values];
    }

    /// <summary>A task that completes at the next grant. Under the lock.</summary>
    private Task RenewWake()
    {
        if (_wake.Task.IsCompleted)
            _wake = NewWake();
        return _wake.Task;
    }

    private static TaskCompletionSource NewWake() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
