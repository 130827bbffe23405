namespace Orleans.Etcd;

/// <summary>The locks of one silo or client.</summary>
internal sealed class EtcdLocks(LockContext context) : ILocks, IAsyncDisposable, IDisposable
{
    public ILock GetLock(string name) => new EtcdLock(context, LockKind.Mutex, name);

    public ILock GetSemaphore(string name, int permits) => new EtcdLock(context, LockKind.Semaphore, name, permits);

    public ILock GetReadLock(string name) => new EtcdLock(context, LockKind.ReadWrite, name, isRead: true);

    public ILock GetWriteLock(string name) => new EtcdLock(context, LockKind.ReadWrite, name);

    public async Task<ILockSetHandle> AcquireAllAsync(IEnumerable<string> names, CancellationToken cancellationToken = default) =>
        (await AcquireAsync(names, wait: null, cancellationToken).ConfigureAwait(false))!;

    public Task<ILockSetHandle?> TryAcquireAllAsync(IEnumerable<string> names, TimeSpan wait = default, CancellationToken cancellationToken = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(wait, TimeSpan.Zero);
        return AcquireAsync(names, wait, cancellationToken);
    }

    /// <inheritdoc cref="LockContext.EndWaitsAsync" />
    public Task EndWaitsAsync() => context.EndWaitsAsync();

    /// <summary>Ends the session, and with it all that is held.</summary>
    public ValueTask DisposeAsync() => context.Sessions.DisposeAsync();

    /// <summary>Does not wait for etcd to have the session back.</summary>
    public void Dispose() => _ = Detached.Run(() => DisposeAsync().AsTask());

    private async Task<ILockSetHandle?> AcquireAsync(IEnumerable<string> names, TimeSpan? wait, CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(names);
        // All names are looked at before anything is acquired.
        ILock[] locks = [.. names.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal).Select(GetLock)];
        var started = context.Time.GetTimestamp();
        var held = new List<ILockHandle>();
        try
        {
            foreach (var each in locks)
            {
                var left = wait - context.Time.GetElapsedTime(started);
                var handle = left is null
                    ? await each.AcquireAsync(cancellationToken).ConfigureAwait(false)
                    : await each.TryAcquireAsync(left > TimeSpan.Zero ? left.Value : TimeSpan.Zero, cancellationToken).ConfigureAwait(false);
                if (handle is null)
                {
                    await LockSetHandle.ReleaseAsync(held).ConfigureAwait(false);
                    return null;
                }

                held.Add(handle);
            }

            return new LockSetHandle(held);
        }
        catch
        {
            await LockSetHandle.ReleaseAsync(held).ConfigureAwait(false);
            throw;
        }
    }
}
