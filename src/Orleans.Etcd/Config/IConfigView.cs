using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// A namespace as this silo's process sees it, for hot paths: reads are those of a dictionary, without a grain call. Injected
/// under the namespace as key. Thread safe.
/// </summary>
/// <example><code>
/// internal sealed class Checkout([FromKeyedServices("orders")] IConfigView orders)
/// {
///     public bool MayOpen(int open) => open &lt; orders.Get("max-open", 100);
/// }
/// </code></example>
public interface IConfigView
{
    /// <summary>The namespace.</summary>
    string Namespace { get; }

    /// <summary>All changes up to and including this revision of etcd's are seen; 0 before it was read for the first time.</summary>
    long Revision { get; }

    /// <summary>Whether the view knows that it may be old: etcd cannot be reached.</summary>
    bool IsStale { get; }

    /// <summary>A value for this silo, overlays applied; null where there is none.</summary>
    /// <param name="key">The key.</param>
    /// <returns>The value.</returns>
    /// <exception cref="InvalidOperationException">The namespace was not read yet: wait for <see cref="ReadyAsync"/>, or name it in <see cref="Configuration.EtcdConfigOptions.Namespaces"/>.</exception>
    ConfigValue? Get(string key);

    /// <summary>A value as a type, or a default where there is none.</summary>
    /// <typeparam name="T">What to read it as; see <see cref="ConfigValue.As{T}"/>.</typeparam>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">What to answer where the key does not exist.</param>
    /// <returns>The value.</returns>
    /// <exception cref="FormatException">It does not parse.</exception>
    /// <inheritdoc cref="Get(string)" path="/exception" />
    T? Get<T>(string key, T? defaultValue = default);

    /// <summary>All values for this silo, overlays applied.</summary>
    /// <returns>The namespace at one revision.</returns>
    /// <inheritdoc cref="Get(string)" path="/exception" />
    ConfigSnapshot GetAll();

    /// <summary>
    /// Waits until the namespace has been read, and shows a revision such as that of one's own commit. Where the view lags by more than half a
    /// second, and what it shows had been changed and changed back by that revision, it may show the changes between once more.
    /// </summary>
    /// <param name="minRevision">A revision at which the namespace was changed; default any.</param>
    /// <param name="cancellationToken">Ends the wait.</param>
    /// <returns>A task.</returns>
    /// <exception cref="EtcdException">etcd refuses to have it read.</exception>
    Task ReadyAsync(long minRevision = 0, CancellationToken cancellationToken = default);

    /// <inheritdoc cref="Hosting.EtcdConfigGrainExtensions.SubscribeAsync" />
    Task<IAsyncDisposable> SubscribeAsync(Func<ConfigNotification, Task> handler, ConfigScope? scope = null, ILogger? logger = null, CancellationToken cancellationToken = default);
}
