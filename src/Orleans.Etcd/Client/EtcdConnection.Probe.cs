using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// The look after members on which streams are open. A frozen one keeps its connections, and a stream that waits for news
/// cannot tell silence from there being none. One that has fallen behind its leader, and does not know, goes on answering what
/// it can by itself: that a watch is alive, that a lease is renewed; and brings no news.
/// </summary>
/// <remarks>
/// Invariant: where there is another member, no stream stays for longer than 3.5 s (one interval, one look and two questions; a
/// fifth of <see cref="EtcdOptions.RequestTimeout"/> each, here of the default) on one that answers no linearizable read, since
/// such a read takes all that was committed before; and not for longer than 2.5 s where nothing else comes from it either.
/// </remarks>
public sealed partial class EtcdConnection
{
    private static readonly TimeSpan BetweenProbes = TimeSpan.FromSeconds(1);
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
            foreach (var endpoint in _pool.Unasked(BetweenProbes))
                _ = ProbeAsync(endpoint);
        }
    }

    private async Task ProbeAsync(EtcdEndpoint endpoint)
    {
        var patience = new RetryBudget(_pool.Count).Patience(mayRepeat: true, Options.RequestTimeout);
        var asked = Time.GetTimestamp();
        var silence = await AskAsync(endpoint, patience).ConfigureAwait(false);
        // Something else has come meanwhile: a question may be lost with a leader, and the next one is not.
        if (silence is not null && endpoint.LastSign >= asked)
            silence = await AskAsync(endpoint, patience).ConfigureAwait(false);
        if (silence is not null && !IsDisposed)
            GiveUp(endpoint, silence, patience);
        _pool.EndProbe(endpoint, heard: silence is null);
    }

    /// <summary>Asks a member what only one that follows its leader can answer; null where it does. A refusal is an answer, and where the connection fails the streams fail with it.</summary>
    private async Task<Exception?> AskAsync(EtcdEndpoint endpoint, TimeSpan patience)
    {
        EtcdMeter.Requests.Add(1, new KeyValuePair<string, object?>("operation", "Probe"));
        using var limit = new CancellationTokenSource(patience);
        try
        {
            using var call = endpoint.Connection.KVClient.RangeAsync(ProbeRequest, new CallOptions(cancellationToken: limit.Token));
            await call.ResponseAsync.ConfigureAwait(false);
            return null;
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            return limit.IsCancellationRequested ? exception : null;
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
