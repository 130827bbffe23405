namespace Orleans.Etcd;

/// <summary>
/// A request to etcd failed. The message names the operation, the endpoints and what to do; it never holds a secret.
/// Passes through grain calls as it is.
/// </summary>
[GenerateSerializer]
[Alias("Orleans.Etcd.EtcdException")]
public sealed class EtcdException : Exception
{
    internal EtcdException(EtcdErrorCode code, string operation, string message, bool outcomeUnknown, Exception? inner = null)
        : base(message, inner)
    {
        Code = code;
        Operation = operation;
        OutcomeUnknown = outcomeUnknown;
    }

    /// <summary>What went wrong.</summary>
    [Id(0)]
    public EtcdErrorCode Code { get; }

    /// <summary>The operation, such as <c>Range</c> or <c>Txn</c>.</summary>
    [Id(1)]
    public string Operation { get; }

    /// <summary>
    /// Whether a write may nevertheless have been applied, now or a moment later. Read back what it would have written
    /// before repeating it. Always <see langword="false"/> for reads.
    /// </summary>
    [Id(2)]
    public bool OutcomeUnknown { get; }

    /// <summary>Whether waiting can help: etcd could not be reached, did not answer in time, or was over a limit.</summary>
    public bool IsTransient => Code is EtcdErrorCode.Unavailable or EtcdErrorCode.Timeout or EtcdErrorCode.ResourceExhausted;
}
