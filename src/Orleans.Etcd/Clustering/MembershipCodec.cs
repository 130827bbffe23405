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

    public static HeartbeatValue? TryDecodeHeartbeat(KeyValue kv) => TryDecode(kv, MembershipJson.Default.HeartbeatValue);

    /// <summary>The entry in a row, or null where it cannot be read or does not belong to its key.</summary>
    public static MembershipEntry? TryDecodeEntry(KeyValue kv, int prefixLength, out string? writeId)
    {
        writeId = null;
        var value = TryDecode(kv, MembershipJson.Default.SiloValue);
        if (value is null || !SiloAddress.TryParse(value.SiloAddress, out var silo) || !Enum.IsDefined(value.Status))
            return null;
        if (!kv.Key.Span[prefixLength..].SequenceEqual(System.Text.Encoding.UTF8.GetBytes(EtcdKeys.Silo(silo))))
            return null;

        List<Tuple<SiloAddress, DateTime>>? votes = null;
        foreach (var vote in value.SuspectTimes ?? [])
        {
            if (vote is null || !SiloAddress.TryParse(vote.Silo, out var voter))
                return null;
            (votes ??= []).Add(Tuple.Create(voter, vote.Time));
        }

        writeId = value.WriteId;
        return new MembershipEntry
        {
            SiloAddress = silo,
            Status = value.Status,
            SiloName = value.SiloName!,
            HostName = value.HostName!,
            ProxyPort = value.ProxyPort,
            RoleName = value.RoleName,
            UpdateZone = value.UpdateZone,
            FaultZone = value.FaultZone,
            StartTime = value.StartTime,
            IAmAliveTime = value.IAmAliveTime,
            SuspectTimes = votes ?? (value.SuspectTimes is null ? null : []),
        };
    }

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
