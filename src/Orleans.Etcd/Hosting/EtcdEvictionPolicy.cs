namespace Orleans.Etcd;

/// <summary>
/// What is done about a silo whose lease in etcd is gone while the membership table does not say that it is dead.
/// </summary>
/// <remarks>
/// Whatever the policy, where more than half of the leases went within one TTL nobody is evicted for two TTLs, in which the
/// living get new ones, and then only who answers nobody; and never by a silo that is in doubt about its own connection to
/// etcd. Orleans' own probes go on under every policy.
/// </remarks>
public enum EtcdEvictionPolicy
{
    /// <summary>Chosen silos ask it, and evict it when it answers none of them. A silo that only lost etcd stays.</summary>
    EvictWhenUnreachable = 0,

    /// <summary>
    /// It is evicted without being asked, once it is clear that not many leases went together: a third of the TTL and half
    /// a second later. A silo that lost etcd for longer than its lease is killed, though it may serve calls.
    /// </summary>
    EvictOnLeaseLoss = 1,

    /// <summary>It is logged and counted, and left to Orleans' own probes.</summary>
    ReportOnly = 2,
}
