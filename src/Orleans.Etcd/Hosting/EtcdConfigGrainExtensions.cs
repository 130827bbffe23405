using Microsoft.Extensions.Logging;
using Orleans.Etcd;

namespace Orleans.Hosting;

/// <summary>Typed reads and subscriptions of a namespace.</summary>
public static class EtcdConfigGrainExtensions
{
    /// <summary>A value as a type, or a default where there is none.</summary>
    /// <typeparam name="T">What to read it as; see <see cref="ConfigValue.As{T}"/>.</typeparam>
    /// <param name="config">The namespace.</param>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">What to answer where the key does not exist.</param>
    /// <param name="read">How fresh, and for whom.</param>
    /// <returns>The value.</returns>
    /// <exception cref="FormatException">It does not parse; the message names key and type, and not the value.</exception>
    public static async Task<T?> Get<T>(this IConfigGrain config, string key, T? defaultValue = default, ConfigRead? read = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        return await config.Get(key, read).ConfigureAwait(false) is { } value ? value.As<T>() : defaultValue;
    }

    /// <summary>Changes one value.</summary>
    /// <param name="config">The namespace.</param>
    /// <param name="key">The key.</param>
    /// <param name="value">Written as UTF-8.</param>
    /// <param name="author">Who, for the history.</param>
    /// <param name="reason">Why, for the history.</param>
    /// <returns>The revision.</returns>
    public static Task<ConfigCommitResult> Set(this IConfigGrain config, string key, string value, string? author = null, string? reason = null)
    {
        ArgumentNullException.ThrowIfNull(config);
        return config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set(key, value)], Author = author, Reason = reason });
    }

    /// <summary>
    /// Tells a handler the whole namespace and then every change, one after another. For external clients, silos and grains,
    /// where the handler runs in the grain's own turns; a grain disposes it in <c>OnDeactivateAsync</c>.
    /// </summary>
    /// <remarks>
    /// Survives: the loss of the grain's silo and of the connection to the cluster, an etcd that is away, its compaction and its restore. Where the
    /// changes in between are not known any more, and where the handler threw or was too slow, the whole state comes instead
    /// (<see cref="ConfigNotification.Snapshot"/>). A slow handler delays nobody but itself.
    /// </remarks>
    /// <param name="config">The namespace.</param>
    /// <param name="handler">Called with one notification at a time.</param>
    /// <param name="scope">What of the namespace, and for whom.</param>
    /// <param name="logger">Where failures are logged; default nowhere.</param>
    /// <param name="cancellationToken">Ends the wait for the first notification; not the subscription.</param>
    /// <returns>The subscription, when the handler has returned from the first notification; disposing it ends it.</returns>
    /// <exception cref="InvalidOperationException"><c>AddEtcdConfig()</c> was not called on the silo.</exception>
    public static Task<IAsyncDisposable> SubscribeAsync(
        this IConfigGrain config,
        Func<ConfigNotification, Task> handler,
        ConfigScope? scope = null,
        ILogger? logger = null,
        CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(config);
        var feed = config.AsReference<IConfigFeedGrain>();
        return ConfigSubscription.StartAsync(config.GetPrimaryKeyString(), (query, token) => ConfigSubscription.AskAsync(feed, query, token), handler, scope, logger, cancellationToken);
    }
}
