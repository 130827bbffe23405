using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>The session of this process: opened by the first who wants one, and anew once it has ended.</summary>
internal sealed class LockSessions(Func<CancellationToken, Task<ILockSessionLink>> open, TimeProvider time, ILogger<LockSession> logger) : IAsyncDisposable
{
    private readonly object _lock = new();
    private readonly CancellationTokenSource _stop = new();
    private Task<LockSession>? _current;

    /// <summary>The session; opening it is for all and ends with none of those who wait for it.</summary>
    public async Task<LockSession> GetAsync(CancellationToken cancellationToken)
    {
        Task<LockSession> current;
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_stop.IsCancellationRequested, typeof(ILocks));
            if (_current is null || _current.IsFaulted || _current.IsCanceled || (_current.IsCompletedSuccessfully && _current.Result.HasEnded))
                _current = Open();
            current = _current;
        }

        return await current.WaitAsync(cancellationToken).ConfigureAwait(false);
    }

    public async ValueTask DisposeAsync()
    {
        Task<LockSession>? current;
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
                return;
            _stop.Cancel();
            current = _current;
        }

        if (current is null)
            return;
        await ((Task)current).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (current.IsCompletedSuccessfully)
            await current.Result.DisposeAsync().ConfigureAwait(false);
    }

    private Task<LockSession> Open()
    {
        var opened = new TaskCompletionSource<LockSession>(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = Detached.Run(async () =>
        {
            try
            {
                opened.SetResult(new LockSession(await open(_stop.Token).ConfigureAwait(false), time, logger));
            }
            catch (Exception exception)
            {
                opened.SetException(exception);
            }
        });
        return Detached.Observed(opened.Task);
    }
}
