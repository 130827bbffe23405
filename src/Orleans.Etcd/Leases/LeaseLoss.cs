namespace Orleans.Etcd;

/// <summary>Why a lease is lost.</summary>
internal enum LeaseLoss
{
    /// <summary>No renewal was answered in time.</summary>
    NotRenewed,

    /// <summary>etcd says that it is gone: it was revoked, or had expired.</summary>
    Gone,

    /// <summary>Nobody renews it any more: our own connection was closed.</summary>
    ConnectionClosed,
}
