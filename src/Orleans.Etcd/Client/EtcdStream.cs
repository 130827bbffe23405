using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>An open stream, the member it is on, and the token it was opened with.</summary>
internal sealed class EtcdStream<TRequest, TResponse>(
    AsyncDuplexStreamingCall<TRequest, TResponse> call,
    EtcdEndpoint endpoint,
    string? token,
    CancellationTokenSource life) : IDisposable
{
    private int _disposed;

    public EtcdEndpoint Endpoint => endpoint;

    public string? Token => token;

    public TResponse Current => call.ResponseStream.Current;

    public Task WriteAsync(TRequest request) => call.RequestStream.WriteAsync(request, life.Token);

    public Task<bool> MoveNextAsync() => call.ResponseStream.MoveNext(life.Token);

    /// <summary>Ends the stream; a pending <see cref="MoveNextAsync"/> fails. Idempotent.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        life.Cancel();
        call.Dispose();
        life.Dispose();
    }
}
