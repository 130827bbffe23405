using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>
/// How a silo that has died is noticed: each silo holds a lease in etcd, and when that is gone, or the silo's endpoint refuses
/// connections, a few others ask the silo itself before they declare it dead. The same on all silos of a cluster.
/// </summary>
/// <example><code>
/// siloBuilder
///     .UseEtcdClustering("http://127.0.0.1:2379")
///     .Configure&lt;EtcdLivenessOptions&gt;(options => options.LeaseTtl = TimeSpan.FromSeconds(2));
/// </code></example>
public sealed class EtcdLivenessOptions
{
    /// <summary>
    /// The time to live of a silo's lease. It is renewed every third of this time; a silo that dies, and whose endpoint does not
    /// refuse connections, is noticed after two thirds of it to the whole, and up to half a second that etcd takes. Default 4 s;
    /// 1 s to 10 min, in whole seconds (rounded up). etcd grants no less than one and a half times its election timeout, 2 s by
    /// default.
    /// </summary>
    public TimeSpan LeaseTtl { get; set; } = TimeSpan.FromSeconds(4);

    /// <summary>
    /// How long a silo whose lease is gone has to answer. A silo whose process has ended refuses the connection, and
    /// nobody waits for it. Default 2 s; 1.5 s to 1 min: for a second after a connection broke Orleans does not open another.
    /// </summary>
    public TimeSpan PingTimeout { get; set; } = TimeSpan.FromSeconds(2);

    /// <summary>
    /// How often each silo pings a few others, to notice that their processes have ended before their leases do: one that fails
    /// two pings half an interval apart, and whose endpoint refuses TCP connections at both, loses its liveness key and is asked
    /// at once; where it does not write the key again within half a second, and answers nobody, it is declared dead. Default 1 s;
    /// 0.2 s to 1 min, or zero for never, which leaves all to the leases. Only under
    /// <see cref="EtcdEvictionPolicy.EvictWhenUnreachable"/>.
    /// </summary>
    public TimeSpan PingInterval { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// How many silos ask it, all of which must have had no answer; and how many others each silo pings. Default 3; 1 to 10.
    /// Fewer where there are not so many.
    /// </summary>
    public int Agents { get; set; } = 3;

    /// <summary>What is done about a silo whose lease is gone. Default <see cref="EtcdEvictionPolicy.EvictWhenUnreachable"/>.</summary>
    public EtcdEvictionPolicy EvictionPolicy { get; set; } = EtcdEvictionPolicy.EvictWhenUnreachable;
}
