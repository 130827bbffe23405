namespace Orleans.Etcd.Testing;

/// <summary>How an <see cref="EtcdServer"/> secures its client endpoint.</summary>
public enum EtcdTls
{
    /// <summary>Plain HTTP/2.</summary>
    None,

    /// <summary>The server shows a certificate; clients need only trust its certificate authority.</summary>
    ServerTls,

    /// <summary>The server also demands a client certificate signed by the same certificate authority.</summary>
    MutualTls,
}
