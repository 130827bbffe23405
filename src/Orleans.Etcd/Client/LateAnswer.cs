using Grpc.Core;

namespace Orleans.Etcd;

/// <summary>
/// The attempts of one call that kept silent for so long that another was begun beside them. They are not given up: a slow
/// etcd may still answer them, and a member between two leaders sends on what it has as soon as there is one. Invariant: once
/// disposed, nobody waits for them any more; etcd may apply them all the same, now or later.
/// </summary>
internal sealed class LateAnswer<TResponse>(EndpointPool pool) : IDisposable
    where TResponse : class
{
    // Both are made with the first that is late: nearly no call has one.
    private List<(Task Following, CancellationTokenSource Deadline)>? _attempts;
    private TaskCompletionSource<TResponse>? _first;

    /// <summary>The first answer to any of them; null while there is none.</summary>
    public TResponse? Response => _first?.Task is { IsCompletedSuccessfully: true, Result: var response } ? response : null;

    /// <summary>Whether neither this attempt nor one of them is answered, nor this one over.</summary>
    public bool IsMissing(Task attempt) => !attempt.IsCompleted && Response is null;

    /// <summary>Waits until there is an answer to this attempt or to one of them, however it turns out, or the time is over; or for the other reason.</summary>
    public async Task OrAsync(Task attempt, TimeSpan time, Task? other = null)
    {
        var any = (_first, other) switch
        {
            (null, null) => attempt,
            (null, _) => Task.WhenAny(attempt, other),
            (_, null) => Task.WhenAny(attempt, _first.Task),
            _ => Task.WhenAny(attempt, _first.Task, other),
        };
        await any.WaitAsync(time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Waits until one of them is answered, all have failed, or the time is over. No time where there are none.</summary>
    public async Task WaitAsync(TimeSpan time)
    {
        if (_first is not null && _attempts is not null && time > TimeSpan.Zero)
            await ((Task)Task.WhenAny(_first.Task, Task.WhenAll(_attempts.Select(static attempt => attempt.Following)))).WaitAsync(time).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    /// <summary>Adds an attempt, and takes over what it holds.</summary>
    public void Follow(EtcdEndpoint endpoint, AsyncUnaryCall<TResponse> attempt, CancellationTokenSource deadline)
    {
        _first ??= new TaskCompletionSource<TResponse>(TaskCreationOptions.RunContinuationsAsynchronously);
        _attempts ??= [];
        _attempts.Add((FollowAsync(pool, endpoint, attempt, _first), deadline));
    }

    public void Dispose()
    {
        foreach (var (_, deadline) in _attempts ?? [])
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
