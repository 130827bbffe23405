namespace Orleans.Etcd;

/// <summary>Several locks, released together.</summary>
internal sealed class LockSetHandle : ILockSetHandle
{
    private readonly CancellationTokenSource _lost;

    public LockSetHandle(IReadOnlyCollection<ILockHandle> held)
    {
        Locks = held.ToDictionary(handle => handle.Name, StringComparer.Ordinal);
        _lost = CancellationTokenSource.CreateLinkedTokenSource([CancellationToken.None, .. held.Select(handle => handle.LostToken)]);
    }

    public IReadOnlyDictionary<string, ILockHandle> Locks { get; }

    public CancellationToken LostToken => _lost.Token;

    public async ValueTask DisposeAsync() => await ReleaseAsync(Locks.Values).ConfigureAwait(false);

    public static Task ReleaseAsync(IEnumerable<ILockHandle> held) => Task.WhenAll(held.Select(handle => handle.DisposeAsync().AsTask()));
}
