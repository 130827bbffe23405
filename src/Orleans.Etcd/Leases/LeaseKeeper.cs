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
internal sealed partial class LeaseKeeper(EtcdConnection connection) : IAsyncDisposable
{
    private static readonly TimeSpan LeastPatience = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan MostPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromMilliseconds(500);

    // A stream that lived for less has not proved itself: the next is opened after a pause.
    private static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(1);

    private readonly object _lock = new();
    private readonly Dictionary<long, EtcdLease> _leases = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly ILogger _logger = connection.LoggerFactory.CreateLogger<LeaseKeeper>();
    private readonly TimeProvider _time = connection.Time;
    private TaskCompletionSource _wake = NewWake();
    private Task? _loop;

    /// <summary>Grants a lease and keeps it alive until it is revoked or lost.</summary>
    /// <param name="ttl">Rounded up to whole seconds; at least 1 s. etcd may grant more (it makes 1 s into 2 s).</param>
    /// <param name="cancellationToken">Ends the wait; a lease granted unseen expires by itself.</param>
    /// <exception cref="EtcdException">etcd did not grant it.</exception>
    public async Task<EtcdLease> GrantAsync(TimeSpan ttl, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(ttl, TimeSpan.FromSeconds(1));
        ArgumentOutOfRangeException.ThrowIfGreaterThan(ttl, TimeSpan.FromDays(365));
        var seconds = (long)Math.Ceiling(ttl.TotalSeconds);
        // An id of our own: when the answer to a grant is lost, asking again finds the lease instead of making two.
        var request = new LeaseGrantRequest { ID = Random.Shared.NextInt64(1, long.MaxValue), TTL = seconds };
        var sent = _time.GetTimestamp();
        try
        {
            var response = await connection.GrantAsync(request, cancellationToken).ConfigureAwait(false);
            seconds = response.TTL;
        }
        catch (EtcdException exception) when (exception.OutcomeUnknown)
        {
            seconds = await GrantAgainAsync(request, cancellationToken).ConfigureAwait(false);
        }

        var lease = new EtcdLease(this, _time, request.ID, TimeSpan.FromSeconds(seconds), sent);
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

    /// <summary>
    /// Cancels the owner's token off the renewal loop: one owner's callbacks delay no other lease. First of all: a slow
    /// log must not make the news late.
    /// </summary>
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

    private async Task<long> GrantAgainAsync(LeaseGrantRequest request, CancellationToken cancellationToken)
    {
        try
        {
            var response = await connection.GrantAsync(request, cancellationToken).ConfigureAwait(false);
            return response.TTL;
        }
        catch (EtcdException exception) when (CallFailure.IsLeaseThere(exception))
        {
            return request.TTL;
        }
    }

    private async Task RunAsync()
    {
        EtcdEndpoint? avoided = null;
        var failures = 0;
        while (!_stop.IsCancellationRequested)
        {
            EtcdStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse>? stream = null;
            Exception? reason = null;
            var progress = new Progress();
            var opened = 0L;
            try
            {
                await WaitForLeasesAsync().ConfigureAwait(false);
                opened = _time.GetTimestamp();
                // Renewals need no token, and must not wait for one.
                stream = await connection.OpenAsync<LeaseKeepAliveRequest, LeaseKeepAliveResponse>("LeaseKeepAlive", static (c, o) => c.LeaseClient.LeaseKeepAlive(o), avoided, withToken: false, _stop.Token).ConfigureAwait(false);
                await RenewAsync(stream, patienceFactor: Math.Pow(1.5, Math.Min(failures, 4)), progress).ConfigureAwait(false);
                // Nothing is left to renew: no fault of the member's.
                avoided = null;
                failures = 0;
                continue;
            }
            catch (Exception exception) when (!_stop.IsCancellationRequested)
            {
                reason = exception;
            }
            catch (Exception) when (_stop.IsCancellationRequested)
            {
                break;
            }
            finally
            {
                stream?.Dispose();
            }

            Log.StreamBroken(_logger, reason, stream?.Endpoint.Address);
            var now = _time.GetTimestamp();
            failures = progress.Answered && _time.GetElapsedTime(opened, now) > ShortLife ? 0 : failures + 1;
            avoided = stream?.Endpoint;
            foreach (var lease in Snapshot())
                lease.StreamLost(now);
            await PauseAsync(failures).ConfigureAwait(false);
        }
    }

    private async Task PauseAsync(int failures)
    {
        if (failures == 0)
            return;
        var backoff = TimeSpan.FromMilliseconds(Math.Min(25 * Math.Pow(2, Math.Min(failures, 10)), LongestBackoff.TotalMilliseconds));
        await Task.Delay(backoff * (0.5 + (Random.Shared.NextDouble() / 2)), _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task WaitForLeasesAsync()
    {
        while (true)
        {
            Task wake;
            lock (_lock)
            {
                if (_leases.Count > 0)
                    return;
                wake = RenewWake();
            }

            await wake.WaitAsync(_stop.Token).ConfigureAwait(false);
        }
    }

    /// <summary>Renews until there is no lease left.</summary>
    /// <exception cref="Exception">The stream ended, or an answer is overdue.</exception>
    private async Task RenewAsync(EtcdStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> stream, double patienceFactor, Progress progress)
    {
        var reading = ReadAsync(stream, progress);
        try
        {
            while (!reading.IsCompleted)
            {
                Task wake;
                EtcdLease[] leases;
                lock (_lock)
                {
                    leases = [.. _leases.Values];
                    wake = RenewWake();
                }

                if (leases.Length == 0)
                    return;
                var wait = await RenewDueAsync(stream, leases, patienceFactor).ConfigureAwait(false);
                using var timeout = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                var pause = Task.Delay(wait, _time, timeout.Token);
                await Task.WhenAny(reading, wake, pause).ConfigureAwait(false);
                await timeout.CancelAsync().ConfigureAwait(false);
                _stop.Token.ThrowIfCancellationRequested();
            }
        }
        finally
        {
            stream.Dispose();
            await ((Task)reading).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await reading.ConfigureAwait(false);
    }

    /// <summary>Sends what is due and answers how long nothing is.</summary>
    private async Task<TimeSpan> RenewDueAsync(EtcdStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> stream, EtcdLease[] leases, double patienceFactor)
    {
        var wait = TimeSpan.FromSeconds(5);
        foreach (var lease in leases)
        {
            var patience = Patience(lease.Ttl, patienceFactor);
            if (lease.OldestUnanswered is { } sent && _time.GetElapsedTime(sent) > patience)
                throw new TimeoutException($"No answer to a lease renewal within {patience}.");
            var now = _time.GetTimestamp();
            if (lease.NextRenewal <= now)
            {
                lease.Sending(now);
                await stream.WriteAsync(new LeaseKeepAliveRequest { ID = lease.Id }).WaitAsync(patience, _time).ConfigureAwait(false);
            }

            now = _time.GetTimestamp();
            wait = Min(wait, _time.GetElapsedTime(now, lease.NextRenewal));
            if (lease.OldestUnanswered is { } oldest)
                wait = Min(wait, patience - _time.GetElapsedTime(oldest, now));
        }

        return wait > TimeSpan.FromMilliseconds(1) ? wait : TimeSpan.FromMilliseconds(1);
    }

    private async Task ReadAsync(EtcdStream<LeaseKeepAliveRequest, LeaseKeepAliveResponse> stream, Progress progress)
    {
        while (await stream.MoveNextAsync().ConfigureAwait(false))
        {
            var response = stream.Current;
            EtcdLease? lease;
            lock (_lock)
                _leases.TryGetValue(response.ID, out lease);
            lease?.Answered(TimeSpan.FromSeconds(response.TTL));
            if (response.TTL <= 0)
                continue;
            progress.Answered = true;
            EtcdMeter.LeaseRenewals.Add(1);
        }

        throw new EndOfStreamException("The stream was closed by etcd.");
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

    private static TimeSpan Patience(TimeSpan ttl, double factor)
    {
        var patience = ttl / 8 * factor;
        patience = patience < LeastPatience ? LeastPatience : patience;
        var most = Min(MostPatience, ttl / 4);
        return Min(patience, most < LeastPatience ? LeastPatience : most);
    }

    private static TimeSpan Min(TimeSpan a, TimeSpan b) => a < b ? a : b;

    private sealed class Progress
    {
        public bool Answered { get; set; }
    }
}
