using System.Collections.Immutable;
using System.Text;

namespace Orleans.Etcd;

/// <summary>Changes that are made together or not at all.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigCommit")]
public sealed record ConfigCommit
{
    /// <summary>The changes: 1 to 3,000, of different keys, of which up to 60 may expect a revision.</summary>
    [Id(0)]
    public required ImmutableArray<ConfigEdit> Edits { get; init; }

    /// <summary>Who makes them, for the history; at most 256 characters.</summary>
    [Id(1)]
    public string? Author { get; init; }

    /// <summary>Why, for the history; at most 1,024 characters.</summary>
    [Id(2)]
    public string? Reason { get; init; }
}

/// <summary>One value to write or to delete.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigEdit")]
public sealed record ConfigEdit
{
    private ConfigEdit(string key, byte[]? value) => (Key, Content) = (key, value);

    /// <summary>The key: 1 to 1,024 characters of valid Unicode.</summary>
    [Id(0)]
    public string Key { get; private init; }

    [Id(1)]
    internal byte[]? Content { get; private init; }

    /// <summary>
    /// The <see cref="ConfigValue.Revision"/> that the key must have; 0: it must not exist. Default null: whatever it is.
    /// </summary>
    [Id(2)]
    public long? ExpectedRevision { get; init; }

    /// <summary>Whether the key is deleted.</summary>
    public bool IsDeletion => Content is null;

    /// <summary>Writes a text.</summary>
    /// <param name="key">The key.</param>
    /// <param name="value">Written as UTF-8.</param>
    /// <returns>The edit.</returns>
    public static ConfigEdit Set(string key, string value)
    {
        ArgumentNullException.ThrowIfNull(value);
        return new ConfigEdit(key, Encoding.UTF8.GetBytes(value));
    }

    /// <summary>Writes bytes as they are.</summary>
    /// <param name="key">The key.</param>
    /// <param name="value">The value; 0 bytes are a value too.</param>
    /// <returns>The edit.</returns>
    public static ConfigEdit Set(string key, ReadOnlySpan<byte> value) => new(key, value.ToArray());

    /// <summary>Writes a value of an overlay, for those whom its rule matches.</summary>
    /// <param name="overlay">Its name: without a slash.</param>
    /// <param name="key">The key that it applies to.</param>
    /// <param name="value">Written as UTF-8.</param>
    /// <returns>The edit, of the key <c>.overlays/{overlay}/{key}</c>.</returns>
    public static ConfigEdit SetOverlay(string overlay, string key, string value) => Set(ConfigLayout.OverlayKey(overlay, key), value);

    /// <summary>Says to whom an overlay applies: all that is given has to hold. Deleting <c>.overlays/{overlay}/.rule</c> turns it off.</summary>
    /// <param name="overlay">Its name: without a slash.</param>
    /// <param name="percent">Of the instances, by a hash of their names that never changes: 0 to 100. Who is in at 10 is also in at 20.</param>
    /// <param name="labels">What the instance's labels have to be.</param>
    /// <returns>The edit, of the key <c>.overlays/{overlay}/.rule</c>.</returns>
    public static ConfigEdit SetRule(string overlay, double? percent = null, IReadOnlyDictionary<string, string>? labels = null)
    {
        if (percent is { } share)
        {
            ArgumentOutOfRangeException.ThrowIfLessThan(share, 0, nameof(percent));
            ArgumentOutOfRangeException.ThrowIfGreaterThan(share, 100, nameof(percent));
        }

        return new ConfigEdit(ConfigLayout.OverlayKey(overlay, ConfigLayout.Rule), new ConfigRule { Percent = percent, Labels = labels is null ? null : new(labels) }.Encode());
    }

    /// <summary>Deletes the key, if it is there.</summary>
    /// <param name="key">The key.</param>
    /// <returns>The edit.</returns>
    public static ConfigEdit Delete(string key) => new(key, null);
}

/// <summary>What became of a commit.</summary>
/// <param name="Revision">The revision of etcd's that made the changes; 0 where there was a conflict.</param>
/// <param name="Conflict">Why nothing was changed; null where it was.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigCommitResult")]
public sealed record ConfigCommitResult([property: Id(0)] long Revision, [property: Id(1)] ConfigConflict? Conflict)
{
    /// <summary>Whether the changes were made.</summary>
    public bool IsCommitted => Conflict is null;
}

/// <summary>A key that was not as expected.</summary>
/// <param name="Key">The key; the first of several.</param>
/// <param name="ExpectedRevision">What was expected.</param>
/// <param name="Current">What it holds now; null where it does not exist.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigConflict")]
public sealed record ConfigConflict([property: Id(0)] string Key, [property: Id(1)] long ExpectedRevision, [property: Id(2)] ConfigValue? Current);

/// <summary>One commit as the history has it.</summary>
/// <param name="Sequence">Its number in the namespace's history, from 1 on.</param>
/// <param name="Revision">The revision of etcd's that made it.</param>
/// <param name="Time">When, by the clock of the silo that made it.</param>
/// <param name="Author">Who.</param>
/// <param name="Reason">Why.</param>
/// <param name="Keys">The keys that it wrote or deleted.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigHistoryEntry")]
public sealed record ConfigHistoryEntry(
    [property: Id(0)] long Sequence,
    [property: Id(1)] long Revision,
    [property: Id(2)] DateTimeOffset Time,
    [property: Id(3)] string? Author,
    [property: Id(4)] string? Reason,
    [property: Id(5)] ImmutableArray<string> Keys);
