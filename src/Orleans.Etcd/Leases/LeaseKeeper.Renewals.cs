using Etcdserverpb;

namespace Orleans.Etcd;

/// <summary>The loop that renews all leases over one stream, and opens another when that fails.</summary>
internal sealed partial class LeaseKeeper
{
    private static readonly TimeSpan LeastPatience = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan MostPatience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan LeastBackoff = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan MostBackoff = TimeSpan.FromMilliseconds(500);

    // A stream that lived for less has not proved itself: the next is opened after a pause.
    private static readonly TimeSpan ShortLife = TimeSpan.FromSeconds(1);

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
                stream = await connection.OpenRenewalsAsync(avoided, _stop.Token).ConfigureAwait(false);
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
            if (stream is not null && reason is TimeoutException)
                connection.NoteSilence(stream.Endpoint);
            var now = _time.GetTimestamp();
            failures = progress.Answered && _time.GetElapsedTime(opened, now) > ShortLife ? 0 : failures + 1;
            // A token that was refused is no fault of the member's.
            avoided = reason is EtcdException { Code: EtcdErrorCode.AuthenticationFailed } ? null : stream?.Endpoint;
            var leases = Snapshot();
            foreach (var lease in leases)
                lease.StreamLost(now);
            await PauseAsync(failures, leases).ConfigureAwait(false);
        }
    }

    /// <summary>
    /// Pauses before the next stream: longer from failure to failure, and never for more than a small part of the
    /// shortest TTL, because it comes on top of the time in which the channel itself connects again. While that does not,
    /// an attempt fails at once and sends nothing.
    /// </summary>
    private async Task PauseAsync(int failures, EtcdLease[] leases)
    {
        if (failures == 0 || leases.Length == 0)
            return;
        var longest = Math.Clamp(leases.Min(lease => lease.Ttl.TotalMilliseconds) / 40, LeastBackoff.TotalMilliseconds, MostBackoff.TotalMilliseconds);
        var backoff = TimeSpan.FromMilliseconds(Math.Min(25 * Math.Pow(2, Math.Min(failures, 10)), longest));
        await Task.Delay(Backoff.Jittered(backoff), _time, _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
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
            connection.NoteSign(stream.Endpoint);
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
