using System.Globalization;

namespace Orleans.Configuration;

/// <summary>How a silo or client holds locks.</summary>
/// <example><code>
/// siloBuilder
///     .UseEtcdClustering("http://127.0.0.1:2379")
///     .AddEtcdLocks(options => options.SessionTtl = TimeSpan.FromSeconds(10));
/// </code></example>
public sealed class EtcdLockOptions
{
    /// <summary>
    /// The time to live of the one lease on which all locks of the process hang, renewed every third of it. When the process
    /// dies, its locks are free after two thirds of this time to the whole, and up to half a second that etcd takes; a process
    /// that loses etcd loses its locks half a second, or a tenth of the time, before that. Default 15 s; 2 s to 10 min, in whole
    /// seconds (rounded up). etcd grants no less than one and a half times its election timeout, 2 s by default.
    /// </summary>
    public TimeSpan SessionTtl { get; set; } = TimeSpan.FromSeconds(15);

    /// <summary>
    /// How long disposing a handle waits for the release; then it goes on in the background. Default 5 s; 100 ms to 1 min.
    /// </summary>
    public TimeSpan ReleaseTimeout { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>
    /// How long acquiring a lock puts up with an etcd or a cluster that does not answer before it throws; a call that is under
    /// way then is waited for, up to 15 s more. Default 30 s; 0 to 1 hour.
    /// </summary>
    public TimeSpan OutageTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// What others see as the owner of this process's locks; for people. Default machine, program and process id, such as
    /// <c>web-1/Shop:4711</c>; 1 to 256 characters.
    /// </summary>
    public string Owner { get; set; } = string.Create(CultureInfo.InvariantCulture, $"{Environment.MachineName}/{AppDomain.CurrentDomain.FriendlyName}:{Environment.ProcessId}");
}
