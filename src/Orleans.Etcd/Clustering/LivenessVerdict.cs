namespace Orleans.Etcd;

/// <summary>What came of asking a silo.</summary>
internal enum LivenessVerdict
{
    /// <summary>It answered at least one of those who asked.</summary>
    Answered,

    /// <summary>It answered none, and each of them said so.</summary>
    Silent,

    /// <summary>The same, and its address refused this silo's connection: no process listens there.</summary>
    Refused,

    /// <summary>It answered none, but one of the others could not be asked: the fault may be with this silo.</summary>
    Unheard,
}
