using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>
/// The configuration of one namespace, whose name is the grain's key. Keeps no state: what it knows is a live view of plain
/// etcd keys, which anyone may edit. Needs <c>AddEtcdConfig()</c> on every silo.
/// </summary>
/// <remarks>
/// Survives: an etcd that is away, for which reads go on with what was last known and commits fail; compaction; the loss of the
/// silo that it was on, after which the next call is answered by another.
/// </remarks>
/// <example><code>
/// var orders = grains.GetGrain&lt;IConfigGrain&gt;("orders");
/// var limit = await orders.Get&lt;int&gt;("max-open", defaultValue: 100);
/// await using var subscription = await orders.SubscribeAsync(told => { … });
/// </code></example>
[Alias("Orleans.Etcd.IConfigGrain")]
public interface IConfigGrain : IGrainWithStringKey
{
    /// <summary>A value; no request to etcd, but for a revision that is not known yet.</summary>
    /// <param name="key">The key.</param>
    /// <param name="read">How fresh, and for whom.</param>
    /// <returns>The value; null where there is none.</returns>
    /// <exception cref="EtcdException">It was never read, or is to be fresher than what is known, and etcd fails.</exception>
    [Alias("Get")]
    Task<ConfigValue?> Get(string key, ConfigRead? read = null);

    /// <summary>All values at one revision; no request to etcd, but for a revision that is not known yet.</summary>
    /// <param name="read">How fresh, and for whom.</param>
    /// <returns>The values, each with the layer that it comes from.</returns>
    /// <exception cref="EtcdException">It was never read, or is to be fresher than what is known, and etcd fails.</exception>
    [Alias("GetAll")]
    Task<ConfigSnapshot> GetAll(ConfigRead? read = null);

    /// <summary>Makes changes together or not at all, and notes them in the history.</summary>
    /// <param name="commit">The changes.</param>
    /// <returns>The revision, or the first key that was not as expected.</returns>
    /// <exception cref="ArgumentException">It is not usable as it is; nothing is changed.</exception>
    /// <exception cref="EtcdException">etcd fails, or refuses it: larger than 1.5 MiB in all, unless etcd is set to allow more. Where the outcome is unknown it says so.</exception>
    [Alias("Commit")]
    Task<ConfigCommitResult> Commit(ConfigCommit commit);

    /// <summary>The last commits, the newest first. What others than this grain wrote is not in it.</summary>
    /// <param name="limit">How many at most: 1 to 1,000.</param>
    /// <param name="before">Only those before this <see cref="ConfigHistoryEntry.Sequence"/>.</param>
    /// <returns>The commits.</returns>
    /// <exception cref="EtcdException">etcd fails.</exception>
    [Alias("History")]
    Task<ImmutableArray<ConfigHistoryEntry>> History(int limit = 20, long before = long.MaxValue);

    /// <summary>
    /// Makes the namespace what it was at a revision, overlays included: a commit like any other. Where etcd has compacted that revision,
    /// all that was committed since is taken back as far as the history goes; what others wrote since then stays.
    /// </summary>
    /// <param name="revision">A revision of etcd's, such as that of a commit.</param>
    /// <param name="author">Who, for the history.</param>
    /// <param name="reason">Why, for the history.</param>
    /// <returns>The revision that did it; the present one where nothing was different.</returns>
    /// <exception cref="InvalidOperationException">
    /// The revision was compacted, and the history does not go back as far; or more than 3,000 keys differ.
    /// </exception>
    /// <exception cref="EtcdException">
    /// etcd fails; or others wrote to the namespace without a pause for two <see cref="Configuration.EtcdOptions.RequestTimeout"/>s (code Timeout).
    /// </exception>
    [Alias("Rollback")]
    Task<ConfigCommitResult> Rollback(long revision, string? author = null, string? reason = null);

    /// <summary>
    /// Tells an observer the whole namespace, and every change from then on, until a minute after this was last called for it:
    /// to be repeated. <see cref="Hosting.EtcdConfigGrainExtensions.SubscribeAsync"/> does all that by itself.
    /// </summary>
    /// <param name="observer">A reference made with <c>CreateObjectReference</c>.</param>
    /// <param name="scope">What of the namespace, and for whom.</param>
    /// <returns>A task.</returns>
    [Alias("Subscribe")]
    Task Subscribe(IConfigObserver observer, ConfigScope? scope = null);

    /// <summary>Tells an observer nothing any more.</summary>
    /// <param name="observer">The reference.</param>
    /// <returns>A task.</returns>
    [Alias("Unsubscribe")]
    Task Unsubscribe(IConfigObserver observer);
}

/// <summary>Is told of a namespace: first all of it, then every change, in order.</summary>
[Alias("Orleans.Etcd.IConfigObserver")]
public interface IConfigObserver : IGrainObserver
{
    /// <summary>What is new. The next comes when this has returned; where it fails, or does not return within Orleans' response timeout, this comes again.</summary>
    /// <param name="notification">A snapshot, or the changes since the last notification.</param>
    /// <returns>A task.</returns>
    [Alias("OnConfig")]
    Task OnConfig(ConfigNotification notification);
}

/// <summary>What of a namespace somebody wants to be told.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigScope")]
public sealed record ConfigScope
{
    /// <summary>Only keys that begin with this. Default: all.</summary>
    [Id(0)]
    public string KeyPrefix { get; init; } = "";

    /// <inheritdoc cref="ConfigRead.Instance" />
    [Id(1)]
    public ConfigInstance? Instance { get; init; }
}
