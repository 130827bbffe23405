using System.Text.Json.Serialization;

namespace Orleans.Etcd;

/// <summary>The value of the table version's key. Other fields are ignored.</summary>
internal sealed class VersionValue
{
    [JsonRequired]
    public int Version { get; set; }

    /// <summary>Names the write, so that a writer who got no answer can tell its own from another's.</summary>
    public string? WriteId { get; set; }
}

/// <summary>The value of a silo's row. Other fields are ignored.</summary>
internal sealed class SiloValue
{
    [JsonRequired]
    public string SiloAddress { get; set; } = string.Empty;

    [JsonRequired]
    public SiloStatus Status { get; set; }

    public string? SiloName { get; set; }

    public string? HostName { get; set; }

    public int ProxyPort { get; set; }

    public string? RoleName { get; set; }

    public int UpdateZone { get; set; }

    public int FaultZone { get; set; }

    public DateTime StartTime { get; set; }

    public DateTime IAmAliveTime { get; set; }

    public List<SuspectValue>? SuspectTimes { get; set; }

    /// <inheritdoc cref="VersionValue.WriteId" />
    public string? WriteId { get; set; }
}

/// <summary>One vote against a silo.</summary>
internal sealed class SuspectValue
{
    [JsonRequired]
    public string Silo { get; set; } = string.Empty;

    public DateTime Time { get; set; }
}

/// <summary>The value of a silo's heartbeat. Other fields are ignored.</summary>
internal sealed class HeartbeatValue
{
    [JsonRequired]
    public DateTime IAmAliveTime { get; set; }
}

/// <summary>The value of a silo's liveness key, for people: that the key is there is all that counts.</summary>
internal sealed class LivenessValue
{
    public string? SiloName { get; set; }
}

[JsonSourceGenerationOptions(
    UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(VersionValue))]
[JsonSerializable(typeof(SiloValue))]
[JsonSerializable(typeof(HeartbeatValue))]
[JsonSerializable(typeof(LivenessValue))]
internal sealed partial class MembershipJson : JsonSerializerContext;
