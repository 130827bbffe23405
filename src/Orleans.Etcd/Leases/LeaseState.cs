namespace Orleans.Etcd;

/// <summary>What the owner of a lease may assume.</summary>
internal enum LeaseState
{
    /// <summary>etcd has answered the last renewal that was due.</summary>
    Held,

    /// <summary>A renewal is overdue, and the deadline has not passed: the server keeps the lease, and may soon not.</summary>
    Unknown,

    /// <summary>The deadline has passed, or etcd says that the lease is gone, or the connection was closed. Final.</summary>
    Lost,

    /// <summary>Given back by its owner. Final.</summary>
    Released,
}
