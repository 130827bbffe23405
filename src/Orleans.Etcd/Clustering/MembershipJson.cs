using System.Text.Json.Serialization;

namespace Orleans.Etcd;

/// <summary>The value of the table version's key. Other fields are ignored.</summary>
internal sealed class VersionValue
{
    public required int Version { get; init; }

    /// <summary>Names the write, so that a writer who got no answer can tell its own from another's.</summary>
    public string? WriteId { get; init; }
}

/// <summary>The value of a silo's row. Other fields are ignored.</summary>
internal sealed class SiloValue
{
    public required string SiloAddress { get; init; }

    public required SiloStatus Status { get; init; }

    public string? SiloName { get; init; }

    public string? HostName { get; init; }

    public int ProxyPort { get; init; }

    public string? RoleName { get; init; }

    public int UpdateZone { get; init; }

    public int FaultZone { get; init; }

    public DateTime StartTime { get; init; }

    public DateTime IAmAliveTime { get; init; }

    public List<SuspectValue>? SuspectTimes { get; init; }

    /// <inheritdoc cref="VersionValue.WriteId" />
    public string? WriteId { get; init; }
}

/// <summary>One vote against a silo.</summary>
internal sealed class SuspectValue
{
    public required string Silo { get; init; }

    public DateTime Time { get; init; }
}

/// <summary>The value of a silo's heartbeat. Other fields are ignored.</summary>
internal sealed class HeartbeatValue
{
    public required DateTime IAmAliveTime { get; init; }
}

[JsonSourceGenerationOptions(
    UseStringEnumConverter = true,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(VersionValue))]
[JsonSerializable(typeof(SiloValue))]
[JsonSerializable(typeof(HeartbeatValue))]
internal sealed partial class MembershipJson : JsonSerializerContext;
