using dotnet_etcd.interfaces;
using Google.Protobuf;
using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>One call and its attempts: which member is asked, for how long, and whether it is asked again.</summary>
public sealed partial class EtcdConnection
{
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
        using var late = new LateAnswer<TResponse>(_pool);
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            ObjectDisposedException.ThrowIf(IsDisposed, this);
            // Fetched before the attempt's clock starts: it is a call of its own, with its own errors.
            string? token = null;
            try
            {
                token = withToken ? await TokenAsync(started, cancellationToken).ConfigureAwait(false) : null;
            }
            catch (EtcdException exception) when (mayBeApplied && kind != CallKind.Read && late.Response is null)
            {
                throw new EtcdException(exception.Code, operation, $"etcd {operation} was not answered and may have been applied; then: {exception.Message}", outcomeUnknown: true, exception);
            }
            catch (EtcdException) when (late.Response is not null)
            {
                // It is not needed any more.
            }

            if (late.Response is { } earliest)
                return earliest;
            var endpoint = _pool.Current;
            var left = RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout);
            var patience = retry.Patience(kind != CallKind.Write, Options.RequestTimeout);
            var time = left < patience ? left : patience;
            EtcdMeter.Requests.Add(1, new KeyValuePair<string, object?>("operation", operation));
            CallFailure failure;
            var hung = false;
            // A token and not gRPC's own deadline, which follows the wall clock and its jumps.
            var deadline = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            AsyncUnaryCall<TResponse>? call = null;
            try
            {
                deadline.CancelAfter(left < Options.RequestTimeout ? left : Options.RequestTimeout);
                call = send(endpoint.Connection, request, new CallOptions(Headers(token), cancellationToken: deadline.Token));
                if (!call.ResponseAsync.IsCompleted)
                    await late.OrAsync(call.ResponseAsync, time).ConfigureAwait(false);
                if (call.ResponseAsync.IsCompleted)
                {
                    var answer = await call.ResponseAsync.ConfigureAwait(false);
                    _pool.Succeed(endpoint);
                    return answer;
                }

                late.Follow(endpoint, call, deadline);
                (call, deadline) = (null, null);
                if (late.Response is { } earlier)
                    return earlier;
                failure = CallFailure.Silence(time, exception: null);
                // Silent for as long as it takes to say so; where others had spent the time, that is no judgement of this one.
                hung = time >= patience / 2;
            }
            catch (Exception exception) when (IsFailure(exception))
            {
                if (cancellationToken.IsCancellationRequested)
                    throw new OperationCanceledException($"etcd {operation} was cancelled.", exception, cancellationToken);
                hung = deadline?.IsCancellationRequested is true && time >= patience / 2;
                failure = deadline?.IsCancellationRequested is true ? CallFailure.Silence(time, exception) : CallFailure.Classify(exception);
            }
            finally
            {
                call?.Dispose();
                deadline?.Dispose();
            }

            if (hung)
                NoteSilence(endpoint);
            else if (failure.Code != EtcdErrorCode.Timeout)
                _pool.NoteSign(endpoint);
            MoveOn(operation, endpoint, token, failure, hung, time);
            EtcdMeter.RequestErrors.Add(1, new KeyValuePair<string, object?>("operation", operation), new KeyValuePair<string, object?>("error", failure.Code));
            mayBeApplied |= failure.MayBeApplied;
            if (failure.MayBeApplied)
                unanswered?.Invoke();
            var mayRepeat = failure.TryElsewhere && (kind != CallKind.Write || !failure.MayBeApplied);
            var pause = mayRepeat ? retry.Next(failure, Time.GetElapsedTime(started), Options.RequestTimeout, kind == CallKind.IdentifiedWrite) : null;
            if (pause is null && mayRepeat)
                await late.WaitAsync(RetryBudget.Left(Time.GetElapsedTime(started), Options.RequestTimeout)).ConfigureAwait(false);
            if (late.Response is { } response)
                return response;
            if (pause is null)
                throw (failure with { MayBeApplied = mayBeApplied }).ToException(operation, isWrite: kind != CallKind.Read, Description);
            Log.Retrying(_logger, failure.Exception, operation, endpoint.Address, failure.Code);
            if (pause > TimeSpan.Zero)
                await Task.Delay(pause.Value, Time, cancellationToken).ConfigureAwait(false);
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
}
