namespace Orleans.Etcd.Testing;

/// <summary>
/// An etcd server could not be started, or refused an administrative request. The message says which, and holds the end of
/// the server's log where that explains it.
/// </summary>
public sealed class EtcdServerException : Exception
{
    /// <summary>Creates an exception without a message.</summary>
    public EtcdServerException()
    {
    }

    /// <summary>Creates an exception with a message.</summary>
    public EtcdServerException(string message)
        : base(message)
    {
    }

    /// <summary>Creates an exception with a message and its cause.</summary>
    public EtcdServerException(string message, Exception? innerException)
        : base(message, innerException)
    {
    }

    /// <summary>Whether etcd ended because one of its ports was taken.</summary>
    internal bool AddressInUse { get; init; }

    /// <summary>Whether etcd was only between two leaders, or had none.</summary>
    internal bool Transient { get; init; }
}
