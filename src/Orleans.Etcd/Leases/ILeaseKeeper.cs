namespace Orleans.Etcd;

/// <summary>Who renews a lease, and takes it back.</summary>
internal interface ILeaseKeeper
{
    /// <summary>Stops renewing it.</summary>
    void Remove(EtcdLease lease);

    /// <summary>Gives it back to etcd; one that is gone already is no error.</summary>
    Task RevokeAsync(long leaseId, CancellationToken cancellationToken);

    /// <summary>Notes that etcd was not told, so that it expires by itself.</summary>
    void LeftToExpire(EtcdLease lease, Exception exception);

    /// <summary>
    /// Cancels the owner's token off the renewal loop: one owner's callbacks delay no other lease. First of all: a slow
    /// log must not make the news late.
    /// </summary>
    void Announce(EtcdLease lease, CancellationTokenSource lost, LeaseLoss reason);
}
