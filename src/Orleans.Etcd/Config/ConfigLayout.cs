using System.Globalization;
using System.Text;
using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>The keys of one namespace: values, overlays among them, and the history of commits.</summary>
internal sealed class ConfigLayout
{
    /// <summary>What begins like this is not a value of the namespace itself.</summary>
    public const string Overlays = ".overlays/";

    /// <summary>Of each overlay, beside its values.</summary>
    public const string Rule = ".rule";

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    private readonly byte[] _prefixUtf8;

    public ConfigLayout(string root, string history, string name)
    {
        Name = name;
        var segment = EtcdKeys.Escape(name, "The namespace") + "/";
        Prefix = root + segment;
        HistoryPrefix = history + segment;
        _prefixUtf8 = Encoding.UTF8.GetBytes(Prefix);
    }

    private ConfigLayout(string prefix)
    {
        Name = Prefix = prefix;
        HistoryPrefix = "";
        _prefixUtf8 = Encoding.UTF8.GetBytes(prefix);
    }

    /// <summary>All keys that begin like this, which ends in a slash, as if they were a namespace; to be read only.</summary>
    public static ConfigLayout At(string prefix) => new(prefix);

    public string Name { get; }

    public string Prefix { get; }

    public string HistoryPrefix { get; }

    /// <summary>Where an overlay has what it says of a key.</summary>
    public static string OverlayKey(string overlay, string key)
    {
        ArgumentException.ThrowIfNullOrEmpty(overlay);
        ArgumentException.ThrowIfNullOrEmpty(key);
        if (overlay.Contains('/'))
            throw new ArgumentException("The name of an overlay has no slash.", nameof(overlay));
        return $"{Overlays}{overlay}/{key}";
    }

    /// <summary>Where a value is; its slashes are kept.</summary>
    /// <exception cref="ArgumentException">It is no key.</exception>
    public ByteString Key(string key)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        if (key.Length > EtcdKeys.MaxSegmentLength)
            throw new ArgumentException($"The key has {key.Length} characters; at most {EtcdKeys.MaxSegmentLength} are allowed.", nameof(key));
        if (!EtcdKeys.IsUtf8(key))
            throw new ArgumentException("The key is not valid Unicode.", nameof(key));
        return KeyOf(key);
    }

    /// <summary>The same of any text, as others may have put it there.</summary>
    public ByteString KeyOf(string name) => ByteString.CopyFromUtf8(Prefix + name);

    /// <summary>The key within the namespace; null where it is no text.</summary>
    public string? NameOf(ByteString key)
    {
        try
        {
            return StrictUtf8.GetString(key.Span[_prefixUtf8.Length..]);
        }
        catch (DecoderFallbackException)
        {
            return null;
        }
    }

    /// <summary>In the order of their numbers.</summary>
    public ByteString HistoryKey(long sequence) => ByteString.CopyFromUtf8(HistoryPrefix + sequence.ToString("D12", CultureInfo.InvariantCulture));

    /// <summary>The keys of the history, and none that others may have put beside them.</summary>
    public RangeRequest Numbers => new() { Key = ByteString.CopyFromUtf8(HistoryPrefix + "0"), RangeEnd = ByteString.CopyFromUtf8(HistoryPrefix + ":") };

    public long? SequenceOf(ByteString historyKey) =>
        long.TryParse(historyKey.ToStringUtf8().AsSpan(HistoryPrefix.Length), NumberStyles.None, CultureInfo.InvariantCulture, out var sequence) ? sequence : null;
}
