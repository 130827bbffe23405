using System.Collections.Immutable;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>A namespace at one revision, overlays apart. Immutable.</summary>
internal sealed partial class ConfigState
{
    private static readonly ImmutableDictionary<string, ConfigValue> None = ImmutableDictionary.Create<string, ConfigValue>(StringComparer.Ordinal);

    private ConfigState(ConfigCursor cursor, int epoch, ImmutableDictionary<string, ConfigValue> values, ImmutableSortedDictionary<string, ConfigOverlay> overlays) =>
        (Cursor, Epoch, Values, Overlays) = (cursor, epoch, values, overlays);

    public ConfigCursor Cursor { get; }

    public long Revision => Cursor.Revision;

    public int Epoch { get; }

    /// <summary>The namespace's own.</summary>
    public ImmutableDictionary<string, ConfigValue> Values { get; }

    public ImmutableSortedDictionary<string, ConfigOverlay> Overlays { get; }

    /// <summary>
    /// What a batch makes of a state, and which of its keys and overlays it has changed. The states of one stream follow each other
    /// without a gap; another history of etcd's is another stream.
    /// </summary>
    public static ConfigDelta Apply(ConfigState? before, RevisionBatch batch, ConfigLayout layout, ILogger logger)
    {
        var follows = before is not null && before.Epoch == batch.Snapshot.Epoch;
        var (values, overlays) = (before?.Values ?? None, before?.Overlays ?? ImmutableSortedDictionary.Create<string, ConfigOverlay>(StringComparer.Ordinal));
        List<string> changedValues = [];
        HashSet<string> changedOverlays = new(StringComparer.Ordinal);
        var size = 0;
        foreach (var change in batch.Changes)
        {
            if (layout.NameOf(change.Key) is not { } key)
            {
                Log.NoText(logger, layout.Name, change.Key.ToBase64());
                EtcdMeter.UnreadableValues.Add(1);
                continue;
            }

            size += change.Key.Length + (change.Current?.Value.Length ?? 0);
            if (OverlayOf(key) is not var (overlay, inner))
            {
                values = change.Current is { } current ? values.SetItem(key, ConfigValue.Of(key, current, layer: null)) : values.Remove(key);
                changedValues.Add(key);
                continue;
            }

            overlays = overlays.SetItem(overlay, Apply(overlays.GetValueOrDefault(overlay) ?? ConfigOverlay.Empty(overlay), inner, change, layout, logger));
            if (overlays[overlay] is { RuleRevision: 0, Values.Count: 0 })
                overlays = overlays.Remove(overlay);
            changedOverlays.Add(overlay);
        }

        var cursor = new ConfigCursor(follows ? before!.Cursor.Stream : Guid.NewGuid(), batch.Snapshot.ClusterId, batch.Snapshot.Revision);
        var after = new ConfigState(cursor, batch.Snapshot.Epoch, values, overlays);
        return new ConfigDelta(before, after, changedValues, changedOverlays, size);
    }

    /// <summary>What a key is for somebody.</summary>
    public ConfigValue? Find(string key, ConfigInstance? instance)
    {
        if (instance is not null)
        {
            foreach (var overlay in Overlays.Values)
            {
                if (overlay.Values.TryGetValue(key, out var value) && overlay.Matches(instance))
                    return value;
            }
        }

        return Values.GetValueOrDefault(key);
    }

    /// <summary>The same as it is at a later revision, by which there are the same writes.</summary>
    public ConfigState At(long revision) => new(Cursor with { Revision = revision }, Epoch, Values, Overlays);

    /// <summary>Whether there are the same writes in both.</summary>
    public bool HasSameAs(ConfigState other) =>
        Same(Values, other.Values) &&
        Overlays.Count == other.Overlays.Count &&
        Overlays.Values.All(one => other.Overlays.GetValueOrDefault(one.Name) is { } two && one.RuleRevision == two.RuleRevision && Same(one.Values, two.Values));

    /// <summary>All keys, for somebody.</summary>
    public ImmutableDictionary<string, ConfigValue> All(ConfigInstance? instance, string keyPrefix = "")
    {
        var all = Values;
        foreach (var overlay in instance is null ? [] : Overlays.Values.Reverse().Where(overlay => overlay.Matches(instance)))
            all = all.SetItems(overlay.Values);
        return keyPrefix.Length == 0 ? all : None.AddRange(all.Where(pair => pair.Key.StartsWith(keyPrefix, StringComparison.Ordinal)));
    }

    private static bool Same(ImmutableDictionary<string, ConfigValue> one, ImmutableDictionary<string, ConfigValue> other) =>
        one.Count == other.Count && one.Values.All(value => other.GetValueOrDefault(value.Key)?.Revision == value.Revision);

    private static (string Overlay, string Key)? OverlayOf(string key)
    {
        if (!key.StartsWith(ConfigLayout.Overlays, StringComparison.Ordinal))
            return null;
        var rest = key[ConfigLayout.Overlays.Length..];
        var end = rest.IndexOf('/');
        return end <= 0 || end == rest.Length - 1 ? ("", rest) : (rest[..end], rest[(end + 1)..]);
    }

    private static ConfigOverlay Apply(ConfigOverlay overlay, string key, KeyChange change, ConfigLayout layout, ILogger logger)
    {
        if (key != ConfigLayout.Rule)
            return overlay with { Values = change.Current is { } current ? overlay.Values.SetItem(key, ConfigValue.Of(key, current, overlay.Name)) : overlay.Values.Remove(key) };
        if (change.Current is not { } rule)
            return overlay with { Rule = null, RuleRevision = 0 };
        overlay = overlay with { RuleRevision = rule.ModRevision };
        try
        {
            return overlay with { Rule = ConfigRule.Decode(rule.Value.Span) };
        }
        catch (JsonException)
        {
            Log.NoRule(logger, layout.Name, overlay.Name);
            EtcdMeter.UnreadableValues.Add(1);
            return overlay with { Rule = null };
        }
    }

    private static partial class Log
    {
        [LoggerMessage(120, LogLevel.Warning, "Config {Namespace}: the key {Key} (base64) is not UTF-8 and is skipped")]
        public static partial void NoText(ILogger logger, string @namespace, string key);

        [LoggerMessage(121, LogLevel.Warning, "Config {Namespace}: the rule of overlay {Overlay} cannot be read; the overlay applies to nobody")]
        public static partial void NoRule(ILogger logger, string @namespace, string overlay);
    }
}

/// <summary>A step from one state to the next.</summary>
/// <param name="Before">Null for the first.</param>
/// <param name="After">What it led to.</param>
/// <param name="Keys">The namespace's own keys that were changed.</param>
/// <param name="Overlays">The overlays that were.</param>
/// <param name="Size">How much it is, in bytes.</param>
internal sealed record ConfigDelta(ConfigState? Before, ConfigState After, IReadOnlyList<string> Keys, IReadOnlySet<string> Overlays, int Size)
{
    private ImmutableArray<ConfigChange> _plain;

    /// <summary>What of it concerns somebody.</summary>
    public ImmutableArray<ConfigChange> Changes(ConfigScope scope)
    {
        if (scope.Instance is not null || scope.KeyPrefix.Length > 0)
            return Find(scope);
        // What most ask for. Made twice it is the same.
        if (_plain.IsDefault)
            ImmutableInterlocked.InterlockedExchange(ref _plain, Find(scope));
        return _plain;
    }

    private ImmutableArray<ConfigChange> Find(ConfigScope scope)
    {
        var keys = scope.Instance is null || Overlays.Count == 0
            ? Keys
            : [.. Keys.Concat(Overlays.SelectMany(name => KeysOf(Before, name).Concat(KeysOf(After, name)))).Distinct(StringComparer.Ordinal)];
        var changes = ImmutableArray.CreateBuilder<ConfigChange>();
        foreach (var key in keys)
        {
            if (!key.StartsWith(scope.KeyPrefix, StringComparison.Ordinal))
                continue;
            var (old, now) = (Before?.Find(key, scope.Instance), After.Find(key, scope.Instance));
            if (!ReferenceEquals(old, now))
                changes.Add(new ConfigChange(key, old, now));
        }

        return changes.ToImmutable();
    }

    private static IEnumerable<string> KeysOf(ConfigState? state, string overlay) => state?.Overlays.GetValueOrDefault(overlay)?.Values.Keys ?? [];
}
