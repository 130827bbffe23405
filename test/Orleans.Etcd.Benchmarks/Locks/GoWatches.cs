using System.Collections.Concurrent;
using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Mvccpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Waits for the deletion of single keys, all over one stream, as one client of Go's shares it among its watches.</summary>
internal sealed class GoWatches : IAsyncDisposable
{
    private readonly AsyncDuplexStreamingCall<WatchRequest, WatchResponse> _stream;
    private readonly ConcurrentDictionary<long, TaskCompletionSource> _waits = new();
    private readonly SemaphoreSlim _writing = new(1);
    private readonly Task _reading;
    private long _lastId;

    public GoWatches(BareEtcd bare)
    {
        _stream = bare.Watches.Watch();
        _reading = Task.Run(ReadAsync);
    }

    /// <summary>Waits until the key is deleted at that revision or a later one.</summary>
    public async Task DeletedAsync(ByteString key, long revision)
    {
        var id = Interlocked.Increment(ref _lastId);
        var deleted = _waits[id] = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await WriteAsync(new WatchRequest { CreateRequest = new WatchCreateRequest { Key = key, StartRevision = revision, WatchId = id } });
        await deleted.Task;
        // As in Go, nobody waits for that.
        _ = WriteAsync(new WatchRequest { CancelRequest = new WatchCancelRequest { WatchId = id } });
    }

    public async ValueTask DisposeAsync()
    {
        _stream.Dispose();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _writing.Dispose();
    }

    private async Task WriteAsync(WatchRequest request)
    {
        await _writing.WaitAsync();
        try
        {
            await _stream.RequestStream.WriteAsync(request);
        }
        finally
        {
            _writing.Release();
        }
    }

    private async Task ReadAsync()
    {
        var end = new IOException("The stream of the watches ended.");
        try
        {
            await foreach (var response in _stream.ResponseStream.ReadAllAsync())
            {
                if (response.Events.Any(change => change.Type == Event.Types.EventType.Delete) && _waits.TryRemove(response.WatchId, out var deleted))
                    deleted.SetResult();
            }
        }
        catch (RpcException exception)
        {
            end = new IOException(end.Message, exception);
        }

        foreach (var wait in _waits.Values)
            wait.TrySetException(end);
    }
}
