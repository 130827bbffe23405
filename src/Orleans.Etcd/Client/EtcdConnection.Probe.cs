using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>
/// The look after members on which nothing but streams is open. A frozen one keeps its connections, and a stream that
/// waits for news cannot tell silence from there being none.
/// </summary>
/// <remarks>
/// Invariant: where there is another member, no stream stays on one that has neither answered nor refused anything for
/// <see cref="SilentFor"/>, a probe and a quarter of a second. The probe is a linearizable read, so one that no longer follows
/// its leader, and from which nothing else comes, is given up likewise. While anything arrives, such as renewals of leases,
/// nothing is asked.
/// </remarks>
public sealed partial class EtcdConnection
{
    private static readonly TimeSpan SilentFor = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(0.25);
    private static readonly RangeRequest ProbeRequest = new() { Key = ByteString.CopyFrom(0), CountOnly = true };

    private int _looking;

    /// <summary>Starts the look with the first stream; it ends with the connection.</summary>
    private void LookAfterStreams()
    {
        if (_pool.Count > 1 && Interlocked.Exchange(ref _looking, 1) == 0)
            Detached.Start(LookAsync);
    }

    private async Task LookAsync()
    {
        while (!IsDisposed)
        {
            await Task.Delay(BetweenLooks, Time).ConfigureAwait(false);
            foreach (var endpoint in _pool.Silent(SilentFor))
                _ = ProbeAsync(endpoint);
        }
    }

    /// <summary>Asks a member anything. A refusal is an answer, and where the connection fails the streams fail with it.</summary>
    private async Task ProbeAsync(EtcdEndpoint endpoint)
    {
        var patience = new RetryBudget(_pool.Count).Patience(mayRepeat: true, Options.RequestTimeout);
        EtcdMeter.Requests.Add(1, new KeyValuePair<string, object?>("operation", "Probe"));
        var asked = Time.GetTimestamp();
        using var limit = new CancellationTokenSource(patience);
        try
        {
            using var call = endpoint.Connection.KVClient.RangeAsync(ProbeRequest, new CallOptions(cancellationToken: limit.Token));
            await call.ResponseAsync.ConfigureAwait(false);
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            // Something else may have come meanwhile, such as events, while this one was lost with a leader.
            if (limit.IsCancellationRequested && !IsDisposed && endpoint.LastSign < asked)
                GiveUp(endpoint, exception, patience);
        }
        finally
        {
            _pool.EndProbe(endpoint, heard: !limit.IsCancellationRequested);
        }
    }

    private void GiveUp(EtcdEndpoint endpoint, Exception exception, TimeSpan patience)
    {
        EtcdMeter.RequestErrors.Add(1, new KeyValuePair<string, object?>("operation", "Probe"), new KeyValuePair<string, object?>("error", EtcdErrorCode.Timeout));
        NoteSilence(endpoint);
        MoveOn("Probe", endpoint, token: null, CallFailure.Silence(patience, exception), hung: true, patience);
        // Streams may be on a member that calls have left long ago.
        endpoint.Suspect();
    }
}
