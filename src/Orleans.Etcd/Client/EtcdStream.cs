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

    public Task WriteAsync(TRequest request) => Observed(call.RequestStream.WriteAsync(request, life.Token));

    public Task<bool> MoveNextAsync() => Observed(call.ResponseStream.MoveNext(life.Token));

    /// <summary>Ends the stream; a pending <see cref="MoveNextAsync"/> fails. Idempotent.</summary>
    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
            return;
        life.Cancel();
        call.Dispose();
        life.Dispose();
    }

    // Whoever ran out of patience no longer awaits it, and its failure would come up as an unobserved exception.
    private static TTask Observed<TTask>(TTask task)
        where TTask : Task
    {
        _ = task.ContinueWith(
            static ended => _ = ended.Exception,
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        return task;
    }
}
