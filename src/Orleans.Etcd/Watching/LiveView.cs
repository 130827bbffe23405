namespace Orleans.Etcd;

/// <summary>
/// The latest state of a key range, kept up to date by a watch. Reads cost no request; they may lag behind etcd by the
/// time that a change takes to arrive, and during an outage they show the last known state.
/// </summary>
internal sealed class LiveView : IAsyncDisposable
{
    private readonly RangeWatch _watch;
    private readonly Task _loop;
    private readonly Action<RevisionBatch>? _arriving;
    private readonly object _lock = new();
    private TaskCompletionSource _changed = NewChanged();
    private volatile RangeSnapshot? _snapshot;
    private bool _ended;

    /// <param name="etcd">The connection.</param>
    /// <param name="prefix">Of the keys.</param>
    /// <param name="arriving">Told of each batch before it is shown.</param>
    public LiveView(EtcdConnection etcd, string prefix, Action<RevisionBatch>? arriving = null)
    {
        _arriving = arriving;
        _watch = new RangeWatch(etcd, prefix, Pulse);
        _loop = Detached.Run(RunAsync);
    }

    /// <summary>The range at one revision; null until it has been read for the first time.</summary>
    public RangeSnapshot? Snapshot => _snapshot;

    /// <summary>Why the view is not up to date at the moment; null while it is.</summary>
    public Exception? LastError => _watch.LastError;

    /// <summary>Waits until the view shows what is asked for.</summary>
    /// <exception cref="ObjectDisposedException">The view or its connection is disposed.</exception>
    public Task<RangeSnapshot> WaitAsync(Func<RangeSnapshot, bool> condition, CancellationToken cancellationToken) =>
        LookAsync(() => _snapshot is { } snapshot && condition(snapshot) ? snapshot : null, cancellationToken);

    /// <summary>Waits until the view shows what is asked for; null where it did not in time.</summary>
    /// <exception cref="ObjectDisposedException">The view or its connection is disposed.</exception>
    public async Task<RangeSnapshot?> WaitAsync(Func<RangeSnapshot, bool> condition, TimeSpan within, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(within);
        try
        {
            return await WaitAsync(condition, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return null;
        }
    }

    /// <summary>Waits until the range has been read for the first time.</summary>
    /// <exception cref="EtcdException">etcd refuses it, which waiting does not change.</exception>
    /// <exception cref="ObjectDisposedException">The view or its connection is disposed.</exception>
    public Task<RangeSnapshot> FirstAsync(CancellationToken cancellationToken) =>
        LookAsync(
            () => _snapshot ?? (LastError is EtcdException { IsTransient: false } refused
                ? throw new EtcdException(refused.Code, refused.Operation, refused.Message, outcomeUnknown: false, refused)
                : null),
            cancellationToken);

    /// <summary>Asks the view to end; <see cref="DisposeAsync"/> also waits for that.</summary>
    public void Stop() => _watch.Stop();

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
    }

    private async Task<RangeSnapshot> LookAsync(Func<RangeSnapshot?> look, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (look() is { } found)
                    return found;
                ObjectDisposedException.ThrowIf(_ended, this);
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task RunAsync()
    {
        while (await _watch.Batches.WaitToReadAsync().ConfigureAwait(false))
        {
            // Only the newest of what has arrived is worth publishing.
            RevisionBatch? newest = null;
            while (_watch.Batches.TryRead(out var batch))
            {
                Arrive(batch);
                newest = batch;
            }

            if (newest is not null)
                Publish(newest.Snapshot);
        }

        lock (_lock)
        {
            _ended = true;
            _changed.TrySetResult();
        }
    }

    private void Arrive(RevisionBatch batch)
    {
        try
        {
            _arriving?.Invoke(batch);
        }
        catch (Exception)
        {
            // It only does ahead what a reader does again, and who reads hears what is wrong.
        }
    }

    private void Publish(RangeSnapshot snapshot)
    {
        _snapshot = snapshot;
        Pulse();
    }

    /// <summary>Lets all who wait look again.</summary>
    private void Pulse()
    {
        lock (_lock)
        {
            _changed.TrySetResult();
            _changed = NewChanged();
        }
    }

    private static TaskCompletionSource NewChanged() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
