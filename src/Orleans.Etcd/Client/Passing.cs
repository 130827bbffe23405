namespace Orleans.Etcd;

/// <summary>Failures after which the same call can succeed.</summary>
internal static class Passing
{
    /// <summary>Whether trying again can help: etcd, the silo or the way to it was not there.</summary>
    public static bool Is(Exception exception) =>
        exception is EtcdException { IsTransient: true } or EtcdException { OutcomeUnknown: true } or OrleansException or TimeoutException;
}
