using System.Net.Sockets;

namespace Orleans.Etcd;

/// <summary>Asks a silo whether it lives, and others whether it answers them.</summary>
internal sealed class LivenessProbe(LivenessClient silos, TimeSpan timeout, TimeProvider time)
{
    private static readonly TimeSpan RetryDelay = TimeSpan.FromMilliseconds(100);

    // For the way there and back, beyond the time that the other silo takes to ask.
    private static readonly TimeSpan OpinionMargin = TimeSpan.FromMilliseconds(500);

    /// <summary>Asks the silo, and lets the other agents ask it at the same time.</summary>
    public async Task<LivenessVerdict> AskAsync(SiloAddress silo, IReadOnlyCollection<SiloAddress> others, CancellationToken cancellationToken)
    {
        var opinions = others.Select(agent => OpinionAsync(agent, silo, cancellationToken)).Prepend(OwnOpinionAsync(silo, cancellationToken)).ToList();
        var unheard = false;
        while (opinions.Count > 0)
        {
            var next = await Task.WhenAny(opinions).ConfigureAwait(false);
            opinions.Remove(next);
            var reached = await next.ConfigureAwait(false);
            if (reached == true)
                return LivenessVerdict.Answered;
            unheard |= reached is null;
        }

        return unheard ? LivenessVerdict.Unheard : LivenessVerdict.Silent;
    }

    /// <summary>
    /// Whether the silo answers within the time allowed. A call that fails at once proves nothing, since Orleans holds a
    /// connection that broke for unusable for a while: only a refused connection does, and then no process listens there.
    /// </summary>
    public async Task<bool> ReachesAsync(SiloAddress silo, CancellationToken cancellationToken)
    {
        var started = time.GetTimestamp();
        var outcome = "silent";
        try
        {
            while (timeout - time.GetElapsedTime(started) is var left && left > TimeSpan.Zero)
            {
                try
                {
                    await silos.Of(silo).PingAsync().WaitAsync(left, time, cancellationToken).ConfigureAwait(false);
                    outcome = "answered";
                    return true;
                }
                catch (TimeoutException)
                {
                    return false;
                }
                catch (Exception) when (!cancellationToken.IsCancellationRequested)
                {
                    if (await IsRefusedAsync(silo, timeout - time.GetElapsedTime(started), cancellationToken).ConfigureAwait(false))
                    {
                        outcome = "refused";
                        return false;
                    }
                }

                await Task.Delay(RetryDelay, time, cancellationToken).ConfigureAwait(false);
            }

            return false;
        }
        finally
        {
            EtcdMeter.Pings.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
        }
    }

    private async Task<bool?> OwnOpinionAsync(SiloAddress silo, CancellationToken cancellationToken) =>
        await ReachesAsync(silo, cancellationToken).ConfigureAwait(false);

    /// <summary>What another agent found; null where it cannot be asked.</summary>
    private async Task<bool?> OpinionAsync(SiloAddress agent, SiloAddress silo, CancellationToken cancellationToken)
    {
        try
        {
            return await silos.Of(agent).ReachesAsync(silo).WaitAsync(timeout + OpinionMargin, time, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception) when (!cancellationToken.IsCancellationRequested)
        {
            return null;
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
