using System.Collections.Immutable;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>What is injected: the feed of this silo, for this silo. Open for as long as the silo lives.</summary>
internal sealed class ConfigView(ConfigFeed feed, ConfigInstance instance) : IConfigView
{
    public string Namespace => feed.Layout.Name;

    public long Revision => feed.State?.Revision ?? 0;

    public bool IsStale => feed.LastError is not null;

    // What is in force here, of the state that it was made of.
    private Seen? _seen;

    private Seen Now
    {
        get
        {
            var state = State;
            if (Volatile.Read(ref _seen) is { } seen && seen.State == state)
                return seen;
            seen = new Seen(state, state.All(instance));
            Volatile.Write(ref _seen, seen);
            return seen;
        }
    }

    private ConfigState State => feed.State ?? throw new InvalidOperationException($"Namespace '{Namespace}' was not read from etcd yet: wait for ReadyAsync, or name it in EtcdConfigOptions.Namespaces.");

    public ConfigValue? Get(string key) => Now.Values.GetValueOrDefault(key);

    public T? Get<T>(string key, T? defaultValue = default) => Get(key) is { } value ? value.As<T>() : defaultValue;

    public ConfigSnapshot GetAll()
    {
        var now = Now;
        return new ConfigSnapshot(Namespace, now.State.Revision, now.Values);
    }

    public Task ReadyAsync(long minRevision = 0, CancellationToken cancellationToken = default) => feed.ReachAsync(minRevision, cancellationToken);

    public Task<IAsyncDisposable> SubscribeAsync(Func<ConfigNotification, Task> handler, ConfigScope? scope = null, ILogger? logger = null, CancellationToken cancellationToken = default)
    {
        scope ??= new ConfigScope();
        return ConfigSubscription.StartAsync(Namespace, feed.NextAsync, handler, scope with { Instance = scope.Instance ?? instance }, logger, cancellationToken);
    }

    private sealed record Seen(ConfigState State, ImmutableDictionary<string, ConfigValue> Values);
}
