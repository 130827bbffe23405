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
/// Invariant: where another member answers a linearizable read, which takes all that was committed before, no stream stays for
/// longer than 3.5 s (one interval, one look and two questions of a fifth of <see cref="EtcdOptions.RequestTimeout"/> each, here of
/// the default) on one that does not. While none answers in time, such as in an etcd that is slow, all keep their streams.
/// </remarks>
public sealed partial class EtcdConnection
{
    private static readonly TimeSpan BetweenProbes = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(0.25);
    private static readonly TimeSpan BetweenRefusals = TimeSpan.FromSeconds(0.1);
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
                _ = Detached.Observed(ProbeAsync(endpoint));
        }
    }

    private async Task ProbeAsync(EtcdEndpoint endpoint)
    {
        var patience = new RetryBudget(_pool.Count).Patience(mayRepeat: true, Options.RequestTimeout);
        var asked = Time.GetTimestamp();
        var heard = false;
        try
        {
            var silence = (await AskAsync(endpoint, patience).ConfigureAwait(false)).Silence;
            heard = silence is null;
            if (silence is null || IsDisposed)
                return;
            // It need not be the member's silence: something else has come from it, so that the question may have been lost with a leader; or
            // this process stood still.
            var isAlive = endpoint.LastSign >= asked || Time.GetElapsedTime(asked) > 2 * patience;
            var another = AnotherAnswersAsync(endpoint, patience);
            heard = isAlive && (await AskAsync(endpoint, patience).ConfigureAwait(false)).Silence is null;
            if (heard)
                return;
            if (await another.ConfigureAwait(false) && !IsDisposed)
                GiveUp(endpoint, silence, patience);
        }
        finally
        {
            _pool.EndProbe(endpoint, heard);
        }
    }

    /// <summary>Whether it would be better anywhere else.</summary>
    private async Task<bool> AnotherAnswersAsync(EtcdEndpoint endpoint, TimeSpan patience)
    {
        List<Task<bool>> asked = [.. _pool.Others(endpoint).Select(other => AnswersAsync(other, patience))];
        while (asked.Count > 0)
        {
            var first = await Task.WhenAny(asked).ConfigureAwait(false);
            if (await first.ConfigureAwait(false))
                return true;
            asked.Remove(first);
        }

        return false;
    }

    /// <summary>Whether a member answers within a time, in which it may have to find a leader first.</summary>
    private async Task<bool> AnswersAsync(EtcdEndpoint endpoint, TimeSpan patience)
    {
        var asked = Time.GetTimestamp();
        for (var left = patience; left > TimeSpan.Zero && !IsDisposed; left = patience - Time.GetElapsedTime(asked))
        {
            var (isAnswered, silence) = await AskAsync(endpoint, left).ConfigureAwait(false);
            // Its connection may be dead, and nobody else is there to notice.
            if (silence is not null)
                NoteSilence(endpoint);
            else
                _pool.NoteSign(endpoint);
            if (isAnswered || silence is not null)
                return isAnswered;
            await Task.Delay(BetweenRefusals, Time).ConfigureAwait(false);
        }

        return false;
    }

    /// <summary>
    /// Asks a member what only one that follows its leader can answer: whether it does, and what ended the wait where it kept silent. That
    /// one may not read is an answer; where the connection fails it is neither, and the streams fail with it.
    /// </summary>
    private async Task<(bool IsAnswered, Exception? Silence)> AskAsync(EtcdEndpoint endpoint, TimeSpan patience)
    {
        EtcdMeter.Requests.Add(1, new KeyValuePair<string, object?>("operation", "Probe"));
        using var limit = new CancellationTokenSource(patience);
        try
        {
            using var call = endpoint.Connection.KVClient.RangeAsync(ProbeRequest, new CallOptions(cancellationToken: limit.Token));
            await call.ResponseAsync.ConfigureAwait(false);
            return (true, null);
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            if (limit.IsCancellationRequested)
                return (false, exception);
            var code = CallFailure.Classify(exception).Code;
            // That something took too long etcd also says.
            return (code is not (EtcdErrorCode.Unavailable or EtcdErrorCode.Timeout or EtcdErrorCode.TlsFailure), code == EtcdErrorCode.Timeout ? exception : null);
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
