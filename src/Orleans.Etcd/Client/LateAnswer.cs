using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>
/// The attempts of one call that kept silent for so long that another was begun beside them. They are not given up: a slow
/// etcd may still answer them, and a member between two leaders sends on what it has as soon as there is one. Invariant: once
/// disposed, nothing of them is under way.
/// </summary>
internal sealed class LateAnswer<TResponse>(EndpointPool pool) : IDisposable
    where TResponse : class
{
    private List<CancellationTokenSource>? _deadlines;
    private TaskCompletionSource<TResponse>? _first;

    /// <summary>The first answer to any of them; null while there is none.</summary>
    public TResponse? Response => _first?.Task is { IsCompletedSuccessfully: true, Result: var response } ? response : null;

    /// <summary>Waits until there is an answer to this attempt or to one of them, however it turns out, or the time is over.</summary>
    public async Task OrAsync(Task<TResponse> attempt, TimeSpan time)
    {
        Task either = _first is null ? attempt : Task.WhenAny(attempt, _first.Task);
        await either.WaitAsync(time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Adds an attempt, and takes over what it holds.</summary>
    public void Follow(EtcdEndpoint endpoint, AsyncUnaryCall<TResponse> attempt, CancellationTokenSource deadline)
    {
        (_deadlines ??= []).Add(deadline);
        _ = FollowAsync(pool, endpoint, attempt, _first ??= new TaskCompletionSource<TResponse>(TaskCreationOptions.RunContinuationsAsynchronously));
    }

    public void Dispose()
    {
        foreach (var deadline in _deadlines ?? [])
        {
            deadline.Cancel();
            deadline.Dispose();
        }
    }

    private static async Task FollowAsync(EndpointPool pool, EtcdEndpoint endpoint, AsyncUnaryCall<TResponse> attempt, TaskCompletionSource<TResponse> first)
    {
        using (attempt)
        {
            try
            {
                first.TrySetResult(await attempt.ResponseAsync.ConfigureAwait(false));
                pool.Succeed(endpoint);
            }
            catch (Exception exception) when (EtcdConnection.IsFailure(exception))
            {
                // What is asked beside it says more.
            }
        }
    }
}
