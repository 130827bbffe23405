using System.Text.Json;
using System.Text.Json.Serialization;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>One commit in the history. Its number is in its key, its revision that of the key.</summary>
internal sealed class ConfigRecord
{
    /// <summary>Tells a commit that was applied and whose answer was lost from another's.</summary>
    public Guid Id { get; set; }

    public DateTimeOffset Time { get; set; }

    public string? Author { get; set; }

    public string? Reason { get; set; }

    public List<ConfigRecordEdit> Edits { get; set; } = [];

    public ByteString Encode() => UnsafeByteOperations.UnsafeWrap(JsonSerializer.SerializeToUtf8Bytes(this, ConfigJson.Default.ConfigRecord));

    /// <summary>Null where it is not ours.</summary>
    public static ConfigRecord? Decode(ByteString value)
    {
        try
        {
            return JsonSerializer.Deserialize(value.Span, ConfigJson.Default.ConfigRecord);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}

/// <summary>One key of a commit.</summary>
internal sealed class ConfigRecordEdit
{
    public string Key { get; set; } = "";

    public bool Deleted { get; set; }

    /// <summary>What was written, in base64; null where it was deleted, or too large to be kept twice.</summary>
    public byte[]? Value { get; set; }
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault, PropertyNameCaseInsensitive = true)]
[JsonSerializable(typeof(ConfigRecord))]
[JsonSerializable(typeof(ConfigRule))]
[JsonSerializable(typeof(KeptConfiguration))]
internal sealed partial class ConfigJson : JsonSerializerContext;
