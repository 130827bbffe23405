namespace Orleans.Etcd;

/// <summary>
/// The token of one user, fetched once for all callers, since each costs the server a bcrypt. A caller that gives up
/// does not end the fetch for the others; a token is dropped only by who saw it refused, so that a newer one survives.
/// </summary>
internal sealed class AuthToken(Func<Task<string>> authenticate)
{
    private readonly object _lock = new();
    private Task<string>? _token;

    /// <exception cref="TimeoutException">It took longer than <paramref name="atMost"/>; the fetch goes on for the next caller.</exception>
    public async ValueTask<string> GetAsync(TimeSpan atMost, TimeProvider time, CancellationToken cancellationToken)
    {
        Task<string> token;
        lock (_lock)
        {
            if (_token is null || _token.IsFaulted || _token.IsCanceled)
            {
                _token = authenticate();
                // All its callers may have given up when it fails.
                _ = _token.ContinueWith(static ended => _ = ended.Exception, CancellationToken.None, TaskContinuationOptions.OnlyOnFaulted, TaskScheduler.Default);
            }

            token = _token;
        }

        return token.IsCompletedSuccessfully ? token.Result : await token.WaitAsync(atMost, time, cancellationToken).ConfigureAwait(false);
    }

    public void Invalidate(string? refused)
    {
        lock (_lock)
        {
            if (_token is { IsCompletedSuccessfully: true } && _token.Result == refused)
                _token = null;
        }
    }
}
