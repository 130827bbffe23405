using System.Text.Json;
using System.Text.Json.Serialization;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>The value of a key in a lock's queue, for people but for two fields. Others' values are their own.</summary>
internal sealed class LockValue
{
    public string? Owner { get; set; }

    /// <summary>When it was granted, or asked for; by the silo's clock.</summary>
    public DateTimeOffset? Since { get; set; }

    /// <summary>
    /// Granted to nobody yet, and to be removed when nobody asks for it: written when a first call has waited in vain, and
    /// taken away by a compare-and-swap before it is granted.
    /// </summary>
    public bool Waiting { get; set; }

    /// <summary>How many may hold it at once, where that is not one.</summary>
    public int Permits { get; set; }

    /// <inheritdoc cref="LockRequest.Attempt" />
    public long Attempt { get; set; }

    public ByteString Encode() => UnsafeByteOperations.UnsafeWrap(JsonSerializer.SerializeToUtf8Bytes(this, LockJson.Default.LockValue));

    /// <summary>Null where it is not ours.</summary>
    public static LockValue? Decode(ByteString value)
    {
        try
        {
            return value.IsEmpty ? null : JsonSerializer.Deserialize(value.Span, LockJson.Default.LockValue);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>Of which attempt a key is; null where it is not ours.</summary>
    public static long? AttemptOf(KeyValue key) => Decode(key.Value)?.Attempt;
}

/// <summary>The value of a session's key, or of a leased one, for people: that it is there is all that counts.</summary>
internal sealed class SessionValue
{
    public string? Owner { get; set; }

    public DateTimeOffset? Since { get; set; }

    public ByteString Encode() => UnsafeByteOperations.UnsafeWrap(JsonSerializer.SerializeToUtf8Bytes(this, LockJson.Default.SessionValue));
}

[JsonSourceGenerationOptions(DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault)]
[JsonSerializable(typeof(LockValue))]
[JsonSerializable(typeof(SessionValue))]
internal sealed partial class LockJson : JsonSerializerContext;
