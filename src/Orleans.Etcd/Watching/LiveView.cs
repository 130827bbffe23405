namespace Orleans.Etcd;

/// <summary>
/// The latest state of a key range, kept up to date by a watch. Reads cost no request; they may lag behind etcd by the
/// time that a change takes to arrive, and during an outage they show the last known state.
/// </summary>
internal sealed class LiveView : IAsyncDisposable
{
    private readonly RangeWatch _watch;
    private readonly Task _loop;
    private readonly object _lock = new();
    private TaskCompletionSource _changed = NewChanged();
    private volatile RangeSnapshot? _snapshot;
    private bool _ended;

    public LiveView(EtcdConnection etcd, string prefix)
    {
        _watch = new RangeWatch(etcd, prefix);
        _loop = Detached.Run(RunAsync);
    }

    /// <summary>The range at one revision; null until it has been read for the first time.</summary>
    public RangeSnapshot? Snapshot => _snapshot;

    /// <summary>Why the view is not up to date at the moment; null while it is.</summary>
    public Exception? LastError => _watch.LastError;

    /// <summary>Waits until the view shows what is asked for.</summary>
    /// <exception cref="ObjectDisposedException">The view or its connection is disposed.</exception>
    public async Task<RangeSnapshot> WaitAsync(Func<RangeSnapshot, bool> condition, CancellationToken cancellationToken)
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (_snapshot is { } snapshot && condition(snapshot))
                    return snapshot;
                ObjectDisposedException.ThrowIf(_ended, this);
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Asks the view to end; <see cref="DisposeAsync"/> also waits for that.</summary>
    public void Stop() => _watch.Stop();

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        while (await _watch.Batches.WaitToReadAsync().ConfigureAwait(false))
        {
            // Only the newest of what has arrived is worth publishing.
            RevisionBatch? newest = null;
            while (_watch.Batches.TryRead(out var batch))
                newest = batch;
            if (newest is not null)
                Publish(newest.Snapshot);
        }

        lock (_lock)
        {
            _ended = true;
            _changed.TrySetResult();
        }
    }

    private void Publish(RangeSnapshot snapshot)
    {
        lock (_lock)
        {
            _snapshot = snapshot;
            _changed.TrySetResult();
            _changed = NewChanged();
        }
    }

    private static TaskCompletionSource NewChanged() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
