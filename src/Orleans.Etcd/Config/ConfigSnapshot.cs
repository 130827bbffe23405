using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>A namespace at one revision. Immutable, thread safe.</summary>
/// <param name="Namespace">The namespace.</param>
/// <param name="Revision">All changes of the namespace up to and including this revision of etcd's are in it.</param>
/// <param name="Values">The values by key, which are compared by ordinal.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigSnapshot")]
public sealed record ConfigSnapshot(
    [property: Id(0)] string Namespace,
    [property: Id(1)] long Revision,
    [property: Id(2)] ImmutableDictionary<string, ConfigValue> Values)
{
    /// <summary>A value; null where there is none.</summary>
    /// <param name="key">The key.</param>
    /// <returns>The value.</returns>
    public ConfigValue? Get(string key) => Values.GetValueOrDefault(key);

    /// <summary>A value as a type, or a default where there is none.</summary>
    /// <typeparam name="T">What to read it as; see <see cref="ConfigValue.As{T}"/>.</typeparam>
    /// <param name="key">The key.</param>
    /// <param name="defaultValue">What to answer where the key does not exist.</param>
    /// <returns>The value.</returns>
    /// <exception cref="FormatException">It does not parse.</exception>
    public T? Get<T>(string key, T? defaultValue = default) => Get(key) is { } value ? value.As<T>() : defaultValue;
}

/// <summary>For which revision and for whom a namespace is read.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigRead")]
public sealed record ConfigRead
{
    /// <summary>
    /// The answer shows this revision of etcd's at least, such as that of one's own commit. Default 0: what is known, without
    /// a request.
    /// </summary>
    [Id(0)]
    public long MinRevision { get; init; }

    /// <summary>Whose overlays apply. Default null: none, the namespace's own values.</summary>
    [Id(1)]
    public ConfigInstance? Instance { get; init; }
}

/// <summary>Who reads, as the rules of overlays see it.</summary>
/// <param name="Name">What percentages go by: of one name it is always the same. 1 to 256 characters.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigInstance")]
public sealed record ConfigInstance([property: Id(0)] string Name)
{
    /// <summary>What rules may ask for, such as <c>zone</c>: <c>eu</c>.</summary>
    [Id(1)]
    public ImmutableDictionary<string, string> Labels { get; init; } = ImmutableDictionary<string, string>.Empty;

    /// <summary>Whether name and labels are the same.</summary>
    /// <param name="other">Another.</param>
    /// <returns>Whether they are.</returns>
    public bool Equals(ConfigInstance? other) =>
        other is not null && Name == other.Name && Labels.Count == other.Labels.Count && Labels.All(label => other.Labels.GetValueOrDefault(label.Key) == label.Value);

    /// <inheritdoc />
    public override int GetHashCode() => HashCode.Combine(Name, Labels.Count);
}
