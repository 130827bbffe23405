using System.Net.Sockets;

namespace Orleans.Etcd;

/// <summary>Asks a silo whether it lives, and others whether it answers them.</summary>
/// <param name="serviceOf">The service of a given silo.</param>
/// <param name="timeout">How long a silo has to answer.</param>
/// <param name="time">The clock.</param>
internal sealed class LivenessProbe(Func<SiloAddress, ILivenessService> serviceOf, TimeSpan timeout, TimeProvider time)
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);

    // For the way there and back, beyond the time that the other silo takes to ask.
    private static readonly TimeSpan OpinionMargin = TimeSpan.FromMilliseconds(500);

    /// <summary>Asks the silo, and lets the other agents ask it at the same time.</summary>
    public async Task<LivenessVerdict> AskAsync(SiloAddress silo, IReadOnlyCollection<SiloAddress> others, CancellationToken cancellationToken)
    {
        var opinions = others.Select(agent => OpinionAsync(agent, silo, cancellationToken)).Append(AskAsync(silo, cancellationToken)).ToList();
        var verdict = LivenessVerdict.Silent;
        while (opinions.Count > 0)
        {
            var next = await Task.WhenAny(opinions).ConfigureAwait(false);
            opinions.Remove(next);
            var opinion = await next.ConfigureAwait(false);
            if (opinion == LivenessVerdict.Answered)
                return opinion;
            if (verdict != LivenessVerdict.Unheard && opinion != LivenessVerdict.Silent)
                verdict = opinion;
        }

        return verdict;
    }

    /// <summary>
    /// Whether the silo answers this one within the time allowed. A call that fails at once proves nothing, since Orleans
    /// holds a connection that broke for unusable for a second: only a refused connection does, and then no process
    /// listens there.
    /// </summary>
    public async Task<LivenessVerdict> AskAsync(SiloAddress silo, CancellationToken cancellationToken)
    {
        var verdict = await PingAsync(silo, cancellationToken).ConfigureAwait(false);
        EtcdMeter.Pings.Add(1, new KeyValuePair<string, object?>("outcome", Outcome(verdict)));
        return verdict;
    }

    /// <summary>Whether the silo's process has ended, as far as a single ping can tell: it failed at once, and nobody listens at the silo's endpoint.</summary>
    public async Task<bool> IsGoneAsync(SiloAddress silo, CancellationToken cancellationToken) =>
        await PingOnceAsync(silo, timeout, () => timeout, cancellationToken).ConfigureAwait(false) == LivenessVerdict.Refused;

    private static string Outcome(LivenessVerdict verdict) => verdict switch
    {
        LivenessVerdict.Answered => "answered",
        LivenessVerdict.Refused => "refused",
        _ => "silent",
    };

    private async Task<LivenessVerdict> PingAsync(SiloAddress silo, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        TimeSpan Left() => timeout - time.GetElapsedTime(started);
        while (Left() is var left && left > TimeSpan.Zero)
        {
            if (await PingOnceAsync(silo, left, Left, cancellationToken).ConfigureAwait(false) is { } verdict)
                return verdict;
            await Task.Delay(RetryDelay, time, cancellationToken).ConfigureAwait(false);
        }

        return LivenessVerdict.Silent;
    }

    /// <summary>What a single ping tells; null where it failed and the silo's endpoint did not refuse a connection.</summary>
    /// <param name="silo">The silo.</param>
    /// <param name="within">How long it has to answer.</param>
    /// <param name="left">How long the connection may take to be refused, once the ping has failed.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    private async Task<LivenessVerdict?> PingOnceAsync(SiloAddress silo, TimeSpan within, Func<TimeSpan> left, CancellationToken cancellationToken)
    {
        try
        {
            await Detached.Observed(serviceOf(silo).PingAsync()).WaitAsync(within, time, cancellationToken).ConfigureAwait(false);
            return LivenessVerdict.Answered;
        }
        catch (TimeoutException)
        {
            return LivenessVerdict.Silent;
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            return await IsRefusedAsync(silo, left(), cancellationToken).ConfigureAwait(false) ? LivenessVerdict.Refused : null;
        }
    }

    private async Task<LivenessVerdict> OpinionAsync(SiloAddress agent, SiloAddress silo, CancellationToken cancellationToken)
    {
        try
        {
            var reached = await Detached.Observed(serviceOf(agent).ReachesAsync(silo)).WaitAsync(timeout + OpinionMargin, time, cancellationToken).ConfigureAwait(false);
            return reached ? LivenessVerdict.Answered : LivenessVerdict.Silent;
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            return LivenessVerdict.Unheard;
        }
    }

    private async Task<bool> IsRefusedAsync(SiloAddress silo, TimeSpan within, CancellationToken cancellationToken)
    {
        if (within <= TimeSpan.Zero)
            return false;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(within);
        using var socket = new Socket(silo.Endpoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            await socket.ConnectAsync(silo.Endpoint, limit.Token).ConfigureAwait(false);
            return false;
        }
        catch (SocketException exception)
        {
            return exception.SocketErrorCode == SocketError.ConnectionRefused;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }
}
