using dotnet_etcd.interfaces;
using Google.Protobuf;
using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>One call and its attempts: which member is asked, for how long, and whether it is asked again.</summary>
public sealed partial class EtcdConnection
{
    // Answers that a new leader makes possible come within that of each other.
    private static readonly TimeSpan Overtaking = TimeSpan.FromMilliseconds(100);

    private async Task<TResponse> CallAsync<TRequest, TResponse>(
        string operation,
        CallKind kind,
        TRequest request,
        Func<IConnection, TRequest, CallOptions, AsyncUnaryCall<TResponse>> send,
        CancellationToken cancellationToken,
        bool withToken = true,
        Action? unanswered = null)
        where TRequest : IMessage
        where TResponse : class
    {
        ArgumentNullException.ThrowIfNull(request);
        var started = Time.GetTimestamp();
        var outcome = "cancelled";
        try
        {
            var response = await AttemptAsync(operation, kind, request, send, withToken, started, unanswered, cancellationToken).ConfigureAwait(false);
            outcome = "ok";
            return response;
        }
        catch (EtcdException exception)
        {
            outcome = exception.Code.ToString();
            throw;
        }
        finally
        {
            Record(operation, outcome, started);
        }
    }

    private async Task<TResponse> AttemptAsync<TRequest, TResponse>(
        string operation,
        CallKind kind,
        TRequest request,
        Func<IConnection, TRequest, CallOptions, AsyncUnaryCall<TResponse>> send,
        bool withToken,
        long started,
        Action? unanswered,
        CancellationToken cancellationToken)
        where TRequest : IMessage
        where TResponse : class
    {
        var retry = new RetryBudget(_pool.Count);
        var mayBeApplied = false;
        var wasOvertaken = false;
        long? sent = null;
        using var late = new LateAnswer<TResponse>(_pool);
        while (true)
        {
            ThrowIfCancelled(operation, cause: null, cancellationToken);
            ObjectDisposedException.ThrowIf(IsDisposed, this);
            // Fetched before the attempt's clock starts: it is a call of its own, with its own errors.
            var token = withToken ? await TokenOrAnswerAsync(operation, kind, started, mayBeApplied, late, cancellationToken).ConfigureAwait(false) : null;
            if (late.Response is { } earliest)
                return earliest;
            var endpoint = sent is null ? _pool.Current : After(operation, sent.Value);
            sent = Time.GetTimestamp();
            var left = RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout);
            var patience = retry.Patience(kind != CallKind.Write, Options.RequestTimeout);
            var time = left < patience ? left : patience;
            var besideOthers = kind != CallKind.Write && _pool.Count > 1;
            var limits = new AttemptLimits(
                time,
                // Where another may be begun beside it, it need not end before the call does.
                besideOthers || left < Options.RequestTimeout ? left : Options.RequestTimeout,
                // Where others had spent the time, silence is no judgement of this one.
                Judges: time >= patience / 2,
                MayBeOvertaken: besideOthers && !wasOvertaken && left - time >= patience / 2);
            EtcdMeter.Requests.Add(1, new KeyValuePair<string, object?>("operation", operation));
            var (answer, failure, hung, isOvertaken) = await TryAsync(endpoint, request, send, token, limits, late, cancellationToken).ConfigureAwait(false);
            if (answer is not null)
                return answer;
            ThrowIfCancelled(operation, failure.Exception, cancellationToken);
            mayBeApplied |= failure.MayBeApplied;
            if (failure.MayBeApplied)
                unanswered?.Invoke();
            if (isOvertaken)
            {
                wasOvertaken = true;
                Log.Overtaken(_logger, operation, endpoint.Address);
                continue;
            }

            if (hung)
                NoteSilence(endpoint);
            else if (failure.Code != EtcdErrorCode.Timeout)
                _pool.NoteSign(endpoint);
            MoveOn(operation, endpoint, token, failure, hung, time);
            EtcdMeter.RequestErrors.Add(1, new KeyValuePair<string, object?>("operation", operation), new KeyValuePair<string, object?>("error", failure.Code));
            var mayRepeat = failure.TryElsewhere && (kind != CallKind.Write || !failure.MayBeApplied);
            var pause = mayRepeat ? retry.Next(failure, Time.GetElapsedTime(started), Options.RequestTimeout, kind == CallKind.IdentifiedWrite) : null;
            if (pause is null && kind != CallKind.Write && !failure.IsLastWord)
                await late.WaitAsync(RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout)).ConfigureAwait(false);
            ThrowIfCancelled(operation, failure.Exception, cancellationToken);
            if (late.Response is { } response)
                return response;
            if (pause is null)
                throw (failure with { MayBeApplied = mayBeApplied }).ToException(operation, isWrite: kind != CallKind.Read, Description);
            Log.Retrying(_logger, failure.Exception, operation, endpoint.Address, failure.Code);
            if (pause > TimeSpan.Zero)
                await Task.Delay(pause.Value, Time, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>
    /// One attempt, and beside it those that are late: the first answer, or what became of this one and whether it kept silent for
    /// as long as it takes to say so; or that it is overtaken.
    /// </summary>
    /// <remarks>
    /// What was sent on to a leader that died is lost without a word, while what waits for the next leader is answered as soon as
    /// there is one. So the first answer after a failure, or after a while without any, is a sign that what still has none may never
    /// have one: it is sent again, once a call. A slow etcd may answer the first all the same.
    /// </remarks>
    private async Task<(TResponse? Answer, CallFailure Failure, bool Hung, bool IsOvertaken)> TryAsync<TRequest, TResponse>(
        EtcdEndpoint endpoint,
        TRequest request,
        Func<IConnection, TRequest, CallOptions, AsyncUnaryCall<TResponse>> send,
        string? token,
        AttemptLimits limits,
        LateAnswer<TResponse> late,
        CancellationToken cancellationToken)
        where TResponse : class
    {
        // A token and not gRPC's own deadline, which follows the wall clock and its jumps.
        var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        AsyncUnaryCall<TResponse>? call = null;
        try
        {
            deadline.CancelAfter(limits.Longest);
            var recovered = _pool.Recovered;
            call = send(endpoint.Connection, request, new CallOptions(Headers(token), cancellationToken: deadline.Token));
            var mayBeOvertaken = limits.MayBeOvertaken && limits.Time > Overtaking;
            // Most are answered by then, and need not wait for what is the same for all.
            await late.OrAsync(call.ResponseAsync, mayBeOvertaken ? Overtaking : limits.Time).ConfigureAwait(false);
            if (mayBeOvertaken && late.IsMissing(call.ResponseAsync))
            {
                await late.OrAsync(call.ResponseAsync, limits.Time - Overtaking, recovered).ConfigureAwait(false);
                if (recovered.IsCompleted && late.IsMissing(call.ResponseAsync))
                    await late.OrAsync(call.ResponseAsync, Overtaking).ConfigureAwait(false);
            }

            if (call.ResponseAsync.IsCompleted)
            {
                var answer = await call.ResponseAsync.ConfigureAwait(false);
                _pool.Succeed(endpoint);
                return (answer, default, false, false);
            }

            var isOvertaken = mayBeOvertaken && recovered.IsCompleted && late.Response is null;
            late.Follow(endpoint, call, deadline);
            (call, deadline) = (null, null);
            return (late.Response, CallFailure.Silence(limits.Time, exception: null), limits.Judges && !isOvertaken, isOvertaken);
        }
        catch (Exception exception) when (IsFailure(exception))
        {
            return deadline?.IsCancellationRequested is true
                ? (null, CallFailure.Silence(limits.Time, exception), limits.Judges, false)
                : (null, CallFailure.Classify(exception), false, false);
        }
        finally
        {
            call?.Dispose();
            deadline?.Dispose();
        }
    }

    /// <summary>The token, or null where an answer came while it was fetched. That it cannot be had counts only where nothing under way is answered.</summary>
    private async ValueTask<string?> TokenOrAnswerAsync<TResponse>(string operation, CallKind kind, long started, bool mayBeApplied, LateAnswer<TResponse> late, CancellationToken cancellationToken)
        where TResponse : class
    {
        var fetching = TokenAsync(started, cancellationToken);
        if (fetching.IsCompletedSuccessfully)
            return fetching.Result;
        var token = Detached.Observed(fetching.AsTask());
        await late.OrAsync(token, RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout)).ConfigureAwait(false);
        if (late.Response is not null)
            return null;
        try
        {
            return await token.ConfigureAwait(false);
        }
        catch (EtcdException exception)
        {
            await late.WaitAsync(RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout)).ConfigureAwait(false);
            if (late.Response is not null)
                return null;
            if (!mayBeApplied || kind == CallKind.Read)
                throw;
            throw new EtcdException(exception.Code, operation, $"etcd {operation} was not answered and may have been applied; then: {exception.Message}", outcomeUnknown: true, exception);
        }
    }

    private async ValueTask<string?> TokenAsync(long started, CancellationToken cancellationToken)
    {
        if (_token is null)
            return null;
        try
        {
            return await _token.GetAsync(RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout), Time, cancellationToken).ConfigureAwait(false);
        }
        catch (TimeoutException exception)
        {
            throw new CallFailure(EtcdErrorCode.Timeout, MayBeApplied: false, BlamesToken: false, exception).ToException("Authenticate", isWrite: false, Description);
        }
    }

    private static void ThrowIfCancelled(string operation, Exception? cause, CancellationToken cancellationToken)
    {
        if (cancellationToken.IsCancellationRequested)
            throw new OperationCanceledException($"etcd {operation} was cancelled.", cause, cancellationToken);
    }

    /// <summary>The member for another attempt, after one that was sent at that time.</summary>
    private EtcdEndpoint After(string operation, long sent)
    {
        var (endpoint, moved) = _pool.After(sent);
        if (moved)
        {
            EtcdMeter.Failovers.Add(1);
            Log.MovedToAnswering(_logger, operation, endpoint.Address);
        }

        return endpoint;
    }

    private void MoveOn(string operation, EtcdEndpoint endpoint, string? token, CallFailure failure, bool hung, TimeSpan time)
    {
        if (failure.BlamesToken)
        {
            Invalidate(token);
            return;
        }

        if (!failure.TryElsewhere || _pool.Fail(endpoint, hung) is not { } next)
            return;
        EtcdMeter.Failovers.Add(1);
        if (hung)
            Log.MovedFromHung(_logger, operation, endpoint.Address, time, next.Address);
        else
            Log.MovedFromFailed(_logger, operation, endpoint.Address, failure.Code, next.Address);
    }

    private void Record(string operation, string outcome, long started) =>
        EtcdMeter.RequestDuration.Record(
            Time.GetElapsedTime(started).TotalSeconds,
            new KeyValuePair<string, object?>("operation", operation),
            new KeyValuePair<string, object?>("outcome", outcome));

    /// <param name="Time">How long it is waited for.</param>
    /// <param name="Longest">How long it is left to go on.</param>
    /// <param name="Judges">Whether its silence says something of the member.</param>
    /// <param name="MayBeOvertaken">Whether another is begun where this one is not answered when the first answer comes after an outage.</param>
    private readonly record struct AttemptLimits(TimeSpan Time, TimeSpan Longest, bool Judges, bool MayBeOvertaken);
}
