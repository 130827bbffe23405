using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>An open stream, the member it is on, and the token it was opened with.</summary>
internal sealed class EtcdStream<TRequest, TResponse>(
    AsyncDuplexStreamingCall<TRequest, TResponse> call,
    EtcdEndpoint endpoint,
    string? token,
    CancellationTokenSource life,
    Func<Exception, string?, EtcdException> translate) : IDisposable
{
    private int _disposed;

    public EtcdEndpoint Endpoint => endpoint;

    public string? Token => token;

    public TResponse Current => call.ResponseStream.Current;

    /// <exception cref="EtcdException">The stream has ended in any way, <see cref="Dispose"/> included.</exception>
    public Task WriteAsync(TRequest request) => Detached.Observed(TranslatedAsync(Begin(request)));

    /// <summary>Waits for the next message; false when the stream was closed by etcd.</summary>
    /// <exception cref="EtcdException">The stream has ended in any other way, <see cref="Dispose"/> included.</exception>
    public Task<bool> MoveNextAsync() => Detached.Observed(TranslatedAsync(call.ResponseStream.MoveNext(life.Token)));

    /// <summary>Ends the stream; a pending <see cref="MoveNextAsync"/> fails. Idempotent.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        endpoint.StreamClosed();
        life.Cancel();
        call.Dispose();
        life.Dispose();
    }

    private async Task<bool> Begin(TRequest request)
    {
        await call.RequestStream.WriteAsync(request, life.Token).ConfigureAwait(false);
        return true;
    }

    private async Task<bool> TranslatedAsync(Task<bool> task)
    {
        try
        {
            return await task.ConfigureAwait(false);
        }
        catch (Exception exception) when (EtcdConnection.IsFailure(exception) || exception is InvalidOperationException)
        {
            throw translate(exception, token);
        }
    }
}
