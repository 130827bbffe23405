using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>Membership entries as the JSON that a person reads with <c>etcdctl get --prefix</c>, and back.</summary>
internal static class MembershipCodec
{
    // etcd refuses requests over 1.5 MiB; a transaction carries the row, the version and the keys.
    private const int MaxRowBytes = 1_400_000;

    public static ByteString Encode(MembershipEntry entry, string writeId)
    {
        ArgumentNullException.ThrowIfNull(entry);
        ArgumentNullException.ThrowIfNull(entry.SiloAddress);
        var bytes = JsonSerializer.SerializeToUtf8Bytes(
            new SiloValue
            {
                SiloAddress = entry.SiloAddress.ToParsableString(),
                Status = entry.Status,
                SiloName = entry.SiloName,
                HostName = entry.HostName,
                ProxyPort = entry.ProxyPort,
                RoleName = entry.RoleName,
                UpdateZone = entry.UpdateZone,
                FaultZone = entry.FaultZone,
                StartTime = entry.StartTime,
                IAmAliveTime = entry.IAmAliveTime,
                SuspectTimes = entry.SuspectTimes?.ConvertAll(vote => new SuspectValue { Silo = vote.Item1.ToParsableString(), Time = vote.Item2 }),
                WriteId = writeId,
            },
            MembershipJson.Default.SiloValue);
        if (bytes.Length > MaxRowBytes)
            throw new ArgumentException($"The membership row of {entry.SiloAddress} has {bytes.Length} bytes; etcd takes at most {MaxRowBytes}. Shorten SiloName, HostName or RoleName.", nameof(entry));
        return UnsafeByteOperations.UnsafeWrap(bytes);
    }

    public static ByteString Encode(int version, string writeId) =>
        UnsafeByteOperations.UnsafeWrap(JsonSerializer.SerializeToUtf8Bytes(new VersionValue { Version = version, WriteId = writeId }, MembershipJson.Default.VersionValue));

    public static ByteString Encode(DateTime iAmAliveTime) =>
        UnsafeByteOperations.UnsafeWrap(JsonSerializer.SerializeToUtf8Bytes(new HeartbeatValue { IAmAliveTime = iAmAliveTime }, MembershipJson.Default.HeartbeatValue));

    public static VersionValue? TryDecodeVersion(KeyValue kv) => TryDecode(kv, MembershipJson.Default.VersionValue);

    /// <summary>The id that the last writer of a row left in it; null where there is none.</summary>
    public static string? TryDecodeWriteId(KeyValue kv) => TryDecode(kv, MembershipJson.Default.SiloValue)?.WriteId;

    public static MembershipEntry Copy(MembershipEntry entry, DateTime iAmAliveTime) => new()
    {
        SiloAddress = entry.SiloAddress,
        Status = entry.Status,
        SiloName = entry.SiloName,
        HostName = entry.HostName,
        ProxyPort = entry.ProxyPort,
        RoleName = entry.RoleName,
        UpdateZone = entry.UpdateZone,
        FaultZone = entry.FaultZone,
        StartTime = entry.StartTime,
        IAmAliveTime = iAmAliveTime,
        SuspectTimes = entry.SuspectTimes is null ? null : [.. entry.SuspectTimes],
    };

    private static T? TryDecode<T>(KeyValue kv, JsonTypeInfo<T> type)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize(kv.Value.Span, type);
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
