namespace Orleans.Etcd;

/// <summary>Whether a request whose outcome is unknown may be sent again.</summary>
internal enum CallKind
{
    /// <summary>Reads nothing but the state: always.</summary>
    Read,

    /// <summary>A write that changes nothing when it is applied twice: always.</summary>
    RepeatableWrite,

    /// <summary>The same, and one that is sought for: a single member that kept silent is asked for it once more.</summary>
    IdentifiedWrite,

    /// <summary>Any other write: only when it is certain that it was not applied.</summary>
    Write,
}
