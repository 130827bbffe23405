using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>
/// What an observer is told: the whole namespace, or what has changed since the last it was told. In order, without gaps, each
/// at least once.
/// </summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigNotification")]
public sealed record ConfigNotification
{
    /// <summary>The namespace.</summary>
    [Id(0)]
    public required string Namespace { get; init; }

    /// <summary>The revision of the last notification; 0 before the first.</summary>
    [Id(1)]
    public required long PreviousRevision { get; init; }

    /// <summary>The revision of etcd's that this makes up to.</summary>
    [Id(2)]
    public required long Revision { get; init; }

    /// <summary>
    /// The whole state, for the first notification and where changes in between are not known any more: after the loss of the
    /// silo that knew them, of etcd's history, or where the observer was too slow. Null for changes.
    /// </summary>
    [Id(3)]
    public ImmutableDictionary<string, ConfigValue>? Snapshot { get; init; }

    /// <summary>The changes of one revision; empty for a snapshot.</summary>
    [Id(4)]
    public ImmutableArray<ConfigChange> Changes { get; init; } = [];
}

/// <summary>One value's change.</summary>
/// <param name="Key">The key.</param>
/// <param name="Old">What it was; null where it was not there.</param>
/// <param name="New">What it is; null where it was deleted.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigChange")]
public sealed record ConfigChange([property: Id(0)] string Key, [property: Id(1)] ConfigValue? Old, [property: Id(2)] ConfigValue? New);
