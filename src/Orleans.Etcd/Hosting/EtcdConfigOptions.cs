namespace Orleans.Configuration;

/// <summary>How a silo serves configuration.</summary>
/// <example><code>
/// siloBuilder
///     .UseEtcdClustering("http://127.0.0.1:2379")
///     .AddEtcdConfig(options => options.Namespaces.Add("orders"));
/// </code></example>
public sealed class EtcdConfigOptions
{
    /// <summary>
    /// What the keys of all namespaces begin with, such as <c>/app/config/</c>: a value is at <c>{Root}{namespace}/{key}</c>. Ends in a
    /// slash. Default null: <c>{KeyPrefix}/{ServiceId}/config/</c>. The same on all silos.
    /// </summary>
    public string? Root { get; set; }

    /// <summary>The namespaces that are read before the silo becomes active, so that an <c>IConfigView</c> of theirs can be read at once. Default none.</summary>
    public IList<string> Namespaces { get; } = [];

    /// <summary>How long the start waits for them, after which it fails. Default 30 s; 1 s to 1 h.</summary>
    public TimeSpan StartupTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>How many commits the history of a namespace keeps. At least that; default 100, 100 to 10,000.</summary>
    public int HistoryLimit { get; set; } = 100;

    /// <summary>
    /// What percentages of overlays go by in this silo's <c>IConfigView</c>. Default null: the silo's name, which is another after each start
    /// unless it is set. 1 to 256 characters.
    /// </summary>
    public string? InstanceName { get; set; }

    /// <summary>What rules of overlays may ask for, such as <c>zone</c>: <c>eu</c>. Default none.</summary>
    public IDictionary<string, string> Labels { get; } = new Dictionary<string, string>(StringComparer.Ordinal);
}
