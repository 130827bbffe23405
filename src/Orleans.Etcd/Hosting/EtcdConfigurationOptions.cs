using Microsoft.Extensions.Logging;
using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>How <c>IConfiguration</c> is filled from etcd.</summary>
/// <example><code>
/// builder.Configuration.AddEtcd(options =>
/// {
///     options.Etcd.Endpoints.Add("http://127.0.0.1:2379");
///     options.Layers.Add(new EtcdConfigurationLayer("app/defaults/"));
///     options.Layers.Add(new EtcdConfigurationLayer("app/shop/"));
///     options.LastKnownGoodFile = "/var/lib/shop/config.json";
/// });
/// </code></example>
public sealed class EtcdConfigurationOptions
{
    /// <summary>How to reach etcd. The connection is the provider's own.</summary>
    public EtcdOptions Etcd { get; } = new();

    /// <summary>What is read, at least one; of a key that several have, the last one's value counts.</summary>
    public IList<EtcdConfigurationLayer> Layers { get; } = [];

    /// <summary>
    /// Whether the host starts with nothing where etcd cannot be read in time and there is no <see cref="LastKnownGoodFile"/>; what is read later is loaded
    /// then. Default false: it does not start.
    /// </summary>
    public bool Optional { get; set; }

    /// <summary>How long the start waits for etcd. Default 10 s; 100 ms to 1 h.</summary>
    public TimeSpan StartupTimeout { get; set; } = TimeSpan.FromSeconds(10);

    /// <summary>
    /// Where the data is kept for a start without etcd: written whole or not at all, readable by its owner only, and with a checksum. Default null:
    /// nowhere.
    /// </summary>
    public string? LastKnownGoodFile { get; set; }

    /// <summary>For how long changes are gathered into one reload, so that those of one revision in several layers are one. Default 50 ms; 0 to 1 min.</summary>
    public TimeSpan ReloadDelay { get; set; } = TimeSpan.FromMilliseconds(50);

    /// <summary>What percentages of overlays go by. Default: the machine's name. 1 to 256 characters.</summary>
    public string InstanceName { get; set; } = Environment.MachineName;

    /// <summary>What rules of overlays may ask for, such as <c>zone</c>: <c>eu</c>. Default none.</summary>
    public IDictionary<string, string> Labels { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>Where to log, since configuration comes before the host's own logging. Default nowhere.</summary>
    public ILoggerFactory? LoggerFactory { get; set; }
}
