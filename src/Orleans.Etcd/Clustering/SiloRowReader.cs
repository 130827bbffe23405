using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace Orleans.Etcd;

/// <summary>
/// Reads the JSON of rows and heartbeats token by token: a silo may have to read a thousand at once, and building objects
/// only to copy them takes longer than etcd's answer. Unknown fields are skipped; what cannot be read is null.
/// </summary>
internal static class SiloRowReader
{
    private static readonly (byte[] Name, SiloStatus Status)[] Statuses =
        [.. Enum.GetValues<SiloStatus>().Select(status => (Encoding.UTF8.GetBytes(status.ToString()), status))];

    /// <summary>The entry in a row, or null where it cannot be read or does not belong to its key.</summary>
    /// <param name="json">The row.</param>
    /// <param name="key">The silo's segment of the row's key.</param>
    /// <param name="known">What stood under the same key before; its address and texts are used again where they are the same.</param>
    public static MembershipEntry? TryRead(ReadOnlySpan<byte> json, ReadOnlySpan<byte> key, MembershipEntry? known)
    {
        try
        {
            return Read(json, key, known);
        }
        catch (Exception exception) when (IsMalformed(exception))
        {
            return null;
        }
    }

    /// <summary>The time of a heartbeat, or null where it cannot be read.</summary>
    public static DateTime? TryReadHeartbeat(ReadOnlySpan<byte> json)
    {
        try
        {
            DateTime? time = null;
            var reader = new Utf8JsonReader(json);
            for (Begin(ref reader); Next(ref reader);)
            {
                if (Is(ref reader, "IAmAliveTime"u8))
                    time = reader.GetDateTime();
                else
                    reader.Skip();
            }

            End(ref reader);
            return time;
        }
        catch (Exception exception) when (IsMalformed(exception))
        {
            return null;
        }
    }

    private static MembershipEntry? Read(ReadOnlySpan<byte> json, ReadOnlySpan<byte> key, MembershipEntry? known)
    {
        var entry = new MembershipEntry();
        SiloStatus? status = null;
        var reader = new Utf8JsonReader(json);
        for (Begin(ref reader); Next(ref reader);)
        {
            if (Is(ref reader, "SiloAddress"u8))
                entry.SiloAddress = known is not null && reader.ValueTextEquals(key) ? known.SiloAddress : Address(ref reader);
            else if (Is(ref reader, "Status"u8))
                status = Status(ref reader);
            else if (Is(ref reader, "SiloName"u8))
                entry.SiloName = Text(ref reader, known?.SiloName)!;
            else if (Is(ref reader, "HostName"u8))
                entry.HostName = Text(ref reader, known?.HostName)!;
            else if (Is(ref reader, "ProxyPort"u8))
                entry.ProxyPort = reader.GetInt32();
            else if (Is(ref reader, "RoleName"u8))
                entry.RoleName = Text(ref reader, known?.RoleName);
            else if (Is(ref reader, "UpdateZone"u8))
                entry.UpdateZone = reader.GetInt32();
            else if (Is(ref reader, "FaultZone"u8))
                entry.FaultZone = reader.GetInt32();
            else if (Is(ref reader, "StartTime"u8))
                entry.StartTime = reader.GetDateTime();
            else if (Is(ref reader, "IAmAliveTime"u8))
                entry.IAmAliveTime = reader.GetDateTime();
            else if (Is(ref reader, "SuspectTimes"u8))
                entry.SuspectTimes = Votes(ref reader);
            else
                reader.Skip();
        }

        End(ref reader);
        if (entry.SiloAddress is null || status is null || !Enum.IsDefined(status.Value))
            return null;
        entry.Status = status.Value;
        var isAtItsKey = ReferenceEquals(entry.SiloAddress, known?.SiloAddress) || key.SequenceEqual(Encoding.UTF8.GetBytes(EtcdKeys.Silo(entry.SiloAddress)));
        return isAtItsKey ? entry : null;
    }

    private static List<Tuple<SiloAddress, DateTime>>? Votes(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.Null)
            return null;
        if (reader.TokenType != JsonTokenType.StartArray)
            throw new JsonException();
        var votes = new List<Tuple<SiloAddress, DateTime>>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            votes.Add(Vote(ref reader));
        return votes;
    }

    private static Tuple<SiloAddress, DateTime> Vote(ref Utf8JsonReader reader)
    {
        SiloAddress? voter = null;
        DateTime time = default;
        for (ExpectObject(ref reader); Next(ref reader);)
        {
            if (Is(ref reader, "Silo"u8))
                voter = Address(ref reader);
            else if (Is(ref reader, "Time"u8))
                time = reader.GetDateTime();
            else
                reader.Skip();
        }

        return Tuple.Create(voter ?? throw new JsonException(), time);
    }

    private static SiloAddress Address(ref Utf8JsonReader reader)
    {
        ReadOnlySpan<byte> text = reader.ValueIsEscaped ? Encoding.UTF8.GetBytes(reader.GetString()!) : reader.ValueSpan;
        return reader.TokenType == JsonTokenType.String && Utf8.IsValid(text) && SiloAddress.TryParse(text, out var silo) ? silo : throw new JsonException();
    }

    private static SiloStatus Status(ref Utf8JsonReader reader)
    {
        if (reader.TokenType == JsonTokenType.Number)
            return (SiloStatus)reader.GetInt32();
        foreach (var (name, status) in Statuses)
        {
            if (reader.ValueTextEquals(name))
                return status;
        }

        throw new JsonException();
    }

    private static string? Text(ref Utf8JsonReader reader, string? known)
    {
        if (reader.TokenType == JsonTokenType.Null)
            return null;
        return known is not null && reader.ValueTextEquals(known) ? known : reader.GetString();
    }

    private static void Begin(ref Utf8JsonReader reader)
    {
        reader.Read();
        ExpectObject(ref reader);
    }

    private static void ExpectObject(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw new JsonException();
    }

    /// <summary>Moves to the next property of an object; false at its end.</summary>
    private static bool Next(ref Utf8JsonReader reader) => reader.Read() && reader.TokenType == JsonTokenType.PropertyName;

    /// <summary>Whether it is this property; then the reader moves on to its value.</summary>
    private static bool Is(ref Utf8JsonReader reader, ReadOnlySpan<byte> name) => reader.ValueTextEquals(name) && reader.Read();

    // The reader itself refuses whatever follows.
    private static void End(ref Utf8JsonReader reader) => reader.Read();

    // The reader's ways to say it: not JSON; not of the type asked for, or not Unicode; not in the type's range.
    private static bool IsMalformed(Exception exception) => exception is JsonException or InvalidOperationException or FormatException;
}
