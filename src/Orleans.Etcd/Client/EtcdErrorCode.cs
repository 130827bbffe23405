namespace Orleans.Etcd;

/// <summary>What went wrong with a request to etcd.</summary>
public enum EtcdErrorCode
{
    /// <summary>Anything not named below; see the message.</summary>
    Other = 0,

    /// <summary>No member could be reached, or the members have no leader. Passes when etcd is back.</summary>
    Unavailable,

    /// <summary>No answer in time.</summary>
    Timeout,

    /// <summary>TLS could not be agreed on: wrong certificate authority, wrong name, or a client certificate is required.</summary>
    TlsFailure,

    /// <summary>Wrong user or password, or authentication is required and none was given, or given and not enabled.</summary>
    AuthenticationFailed,

    /// <summary>The user has no permission for the key.</summary>
    PermissionDenied,

    /// <summary>etcd refused the request as it is: too large, empty key, too many operations.</summary>
    InvalidRequest,

    /// <summary>etcd is over a limit: database space exceeded, or too many requests at once.</summary>
    ResourceExhausted,

    /// <summary>The revision asked for was compacted away.</summary>
    Compacted,

    /// <summary>The lease does not exist, or no longer.</summary>
    LeaseNotFound,
}
