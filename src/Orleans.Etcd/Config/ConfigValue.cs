using System.Runtime.InteropServices;
using System.Text;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>One configuration value as etcd holds it. Immutable, thread safe.</summary>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigValue")]
public sealed class ConfigValue
{
    [NonSerialized]
    private string? _text;

    internal ConfigValue(string key, byte[] content, long revision, string? layer) => (Key, Content, Revision, Layer) = (key, content, revision, layer);

    /// <summary>The key within its namespace.</summary>
    [Id(0)]
    public string Key { get; }

    [Id(1)]
    internal byte[] Content { get; }

    /// <summary>The revision of etcd's that wrote it: what <see cref="ConfigEdit.ExpectedRevision"/> is compared with.</summary>
    [Id(2)]
    public long Revision { get; }

    /// <summary>The overlay that the value comes from; null for the namespace's own value.</summary>
    [Id(3)]
    public string? Layer { get; }

    /// <summary>The value as it is.</summary>
    public ReadOnlyMemory<byte> Bytes => Content;

    /// <summary>The value as UTF-8; what is no UTF-8 in it is replaced.</summary>
    public string Text => _text ??= Encoding.UTF8.GetString(Content);

    /// <summary>
    /// The value as a number, <see cref="bool"/>, <see cref="TimeSpan"/>, enum, <see cref="Guid"/>, <see cref="DateTimeOffset"/>
    /// (all of the invariant culture), <see cref="string"/>, array of bytes, or else as JSON.
    /// </summary>
    /// <typeparam name="T">What to read it as; may be nullable.</typeparam>
    /// <returns>The value.</returns>
    /// <exception cref="FormatException">It does not parse; the message names the key and the type, and not the value.</exception>
    public T As<T>() => ConfigConvert.To<T>(this);

    /// <summary>The key and where the value comes from; never the value.</summary>
    /// <returns>A text for people.</returns>
    public override string ToString() => Layer is null ? $"{Key} (revision {Revision})" : $"{Key} (revision {Revision}, of {Layer})";

    internal static ConfigValue Of(string key, KeyValue kv, string? layer)
    {
        // As it was received, where that is an array of its own.
        var content = MemoryMarshal.TryGetArray(kv.Value.Memory, out var array) && array.Offset == 0 && array.Array is { } whole && whole.Length == array.Count
            ? whole
            : kv.Value.ToByteArray();
        return new ConfigValue(key, content, kv.ModRevision, layer);
    }
}
