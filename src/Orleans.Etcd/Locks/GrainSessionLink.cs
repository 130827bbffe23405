using System.Collections.Immutable;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>The session of a process that does not reach etcd: every word goes through a grain.</summary>
/// <remarks>
/// The invariant of <see cref="EtcdLease"/> holds as it does over a connection: the silo asks etcd for the renewal after this
/// process has sent it, so that the deadline, counted from the sending, is never later than etcd's.
/// </remarks>
internal sealed partial class GrainSessionLink : ILockSessionLink, ILeaseKeeper
{
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(500);

    private readonly ILockSessionGrain _grain;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationToken _stopping;
    private readonly CancellationTokenSource _stop = new();
    private readonly Task _renewing;

    private GrainSessionLink(ILockSessionGrain grain, LockSessionGrant grant, long sent, TimeProvider time, ILogger logger, CancellationToken stopping)
    {
        (_grain, _time, _logger, _stopping) = (grain, time, logger.Guarded(), stopping);
        Lease = new EtcdLease(this, time, grant.Session, grant.Ttl, sent);
        Revision = grant.Revision;
        _renewing = Detached.Run(RenewAsync);
    }

    public EtcdLease Lease { get; }

    public long Revision { get; }

    /// <param name="grain">On whichever silo.</param>
    /// <param name="ttl">Of the session.</param>
    /// <param name="owner">Who it is, for people.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">The log.</param>
    /// <param name="stopping">Cancelled when this process stops.</param>
    public static async Task<ILockSessionLink> OpenAsync(ILockSessionGrain grain, TimeSpan ttl, string owner, TimeProvider time, ILogger logger, CancellationToken stopping)
    {
        var sent = time.GetTimestamp();
        var grant = await Detached.Observed(grain.Open(ttl, owner)).WaitAsync(stopping).ConfigureAwait(false);
        return new GrainSessionLink(grain, grant, sent, time, logger, stopping);
    }

    public Task<LockSessionState> WatchAsync(int known, CancellationToken cancellationToken) => Detached.Observed(_grain.Watch(Lease.Id, known)).WaitAsync(LockQueue.CallLimit * 1.5, _time, cancellationToken);

    public Task<ImmutableArray<string>> KeysAsync(CancellationToken cancellationToken) => Detached.Observed(_grain.GetKeys(Lease.Id)).WaitAsync(cancellationToken);

    public Task RemoveAsync(string key, CancellationToken cancellationToken) => Detached.Observed(_grain.Remove(Lease.Id, key)).WaitAsync(cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _renewing.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    void ILeaseKeeper.Remove(EtcdLease lease) => _stop.Cancel();

    Task ILeaseKeeper.RevokeAsync(long leaseId, CancellationToken cancellationToken) => Detached.Observed(_grain.Close(leaseId)).WaitAsync(cancellationToken);

    void ILeaseKeeper.LeftToExpire(EtcdLease lease, Exception exception) => Log.LeftToExpire(_logger, exception, lease.Id);

    void ILeaseKeeper.Announce(EtcdLease lease, CancellationTokenSource lost, LeaseLoss reason)
    {
        EtcdMeter.LeasesLost.Add(1);
        _ = Detached.Observed(lost.CancelAsync());
        if (reason == LeaseLoss.NotRenewed)
            _ = Detached.Run(ForgoAsync);
    }

    /// <summary>Ends a session that was lost in an outage as soon as that is over, as <see cref="LeaseKeeper"/> does over a connection.</summary>
    private async Task ForgoAsync()
    {
        await Task.Delay(LeaseKeeper.TimeToLetGo, _time, _stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        for (var pause = FirstPause; !_stopping.IsCancellationRequested; pause = Backoff.Longer(pause, LongestPause))
        {
            try
            {
                await Detached.Observed(_grain.Close(Lease.Id)).WaitAsync(LockQueue.CallLimit * 1.5, _time, _stopping).ConfigureAwait(false);
                return;
            }
            catch (Exception exception) when (Passing.Is(exception))
            {
                await Task.Delay(Backoff.Jittered(pause), _time, _stopping).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
            catch (Exception exception)
            {
                if (!_stopping.IsCancellationRequested)
                    Log.LeftToExpire(_logger, exception, Lease.Id);
                return;
            }
        }
    }

    /// <summary>A call that has no answer within a quarter of the TTL is repeated, on whichever silo there is by then.</summary>
    private async Task RenewAsync()
    {
        while (!_stop.IsCancellationRequested)
        {
            var now = _time.GetTimestamp();
            var wait = _time.GetElapsedTime(now, Lease.NextRenewal);
            if (wait > TimeSpan.Zero)
            {
                await Task.Delay(wait, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
                continue;
            }

            Lease.Sending(now);
            try
            {
                var ttl = await Detached.Observed(_grain.Renew(Lease.Id)).WaitAsync(Lease.Ttl / 4, _time, _stop.Token).ConfigureAwait(false);
                Lease.Answered(ttl);
                EtcdMeter.LeaseRenewals.Add(1);
            }
            catch (OperationCanceledException) when (_stop.IsCancellationRequested)
            {
                return;
            }
            catch (Exception exception)
            {
                // Whatever it is, the deadline decides.
                Log.NotRenewed(_logger, exception, Lease.Id);
                Lease.StreamLost(_time.GetTimestamp());
                await Task.Delay(Lease.Ttl / 40, _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            }
        }
    }

    private static partial class Log
    {
        [LoggerMessage(102, LogLevel.Debug, "Lock session {Session:x} was not renewed through the cluster; it is tried again")]
        public static partial void NotRenewed(ILogger logger, Exception exception, long session);

        [LoggerMessage(103, LogLevel.Information, "Lock session {Session:x} could not be ended and is left to expire")]
        public static partial void LeftToExpire(ILogger logger, Exception exception, long session);
    }
}
