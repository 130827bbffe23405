using System.Net;
using System.Text;
using System.Text.Json;
using CsCheck;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Rows as they are written, and with a byte or two changed: the reader and a deserializer see the same in them.</summary>
public sealed class SiloRowReaderTests
{
    private const int Rows = 50_000;

    private static readonly Gen<string?> Text = Gen.Frequency((1, Gen.Const((string?)null)), (4, Gen.String[Gen.Char["abc-é\"\\/\t漢"], 0, 12].Select(text => (string?)text)));

    private static readonly Gen<DateTime> Time = Gen.Int[0, int.MaxValue].Select(seconds => DateTime.UnixEpoch.AddSeconds(seconds));

    private static readonly Gen<SiloAddress> Address =
        from ip in Gen.OneOf(Gen.Const("10.0.0.1"), Gen.Const("127.0.0.1"), Gen.Const("::1"), Gen.Const("fe80::1%3"))
        from port in Gen.Int[0, 65535]
        from generation in Gen.Int[-3, int.MaxValue]
        select SiloAddress.New(IPAddress.Parse(ip), port, generation);

    private static readonly Gen<MembershipEntry> Entry =
        from silo in Address
        from status in Gen.Enum<SiloStatus>()
        from texts in Gen.Select(Text, Text, Text)
        from numbers in Gen.Select(Gen.Int, Gen.Int[0, 9], Gen.Int[-9, 9])
        from times in Gen.Select(Time, Time)
        from votes in Gen.Select(Gen.Bool, Gen.Select(Address, Time, Tuple.Create).List[0, 3], (any, list) => any ? list : null)
        select new MembershipEntry
        {
            SiloAddress = silo,
            Status = status,
            SiloName = texts.Item1!,
            HostName = texts.Item2!,
            RoleName = texts.Item3,
            ProxyPort = numbers.Item1,
            UpdateZone = numbers.Item2,
            FaultZone = numbers.Item3,
            StartTime = times.Item1,
            IAmAliveTime = times.Item2,
            SuspectTimes = votes,
        };

    private static readonly Gen<(int Place, byte Byte, int Kind)> Change = Gen.Select(Gen.Int[0, 10_000], Gen.OneOf(Gen.Byte, Gen.Char["\"{}[],:0a\\ "].Select(c => (byte)c)), Gen.Int[0, 2]);

    [Fact]
    public void TryRead_WhatWasWritten_IsTheSame() => Gen.Select(Entry, Entry).Sample(
        (entry, known) =>
        {
            var (json, key) = Written(entry);
            // With and without something known under the key; its names may or may not be the same.
            known.SiloAddress = SiloAddress.New(entry.SiloAddress.Endpoint, entry.SiloAddress.Generation);
            return Same(entry, SiloRowReader.TryRead(json, key, known: null)) && Same(entry, SiloRowReader.TryRead(json, key, known));
        },
        iter: Rows);

    [Fact]
    public void TryRead_Damaged_IsWhatADeserializerReads() => Gen.Select(Entry, Change.Array[1, 2]).Sample(
        (entry, changes) =>
        {
            var (json, key) = Written(entry);
            json = changes.Aggregate(json, Damage);
            return Same(Deserialized(json, key), SiloRowReader.TryRead(json, key, known: null)) && Same(Deserialized(json, key), SiloRowReader.TryRead(json, key, known: entry));
        },
        iter: Rows);

    [Fact]
    public void TryReadHeartbeat_Damaged_IsWhatADeserializerReads() => Gen.Select(Time, Change.Array[0, 2]).Sample(
        (time, changes) =>
        {
            var json = changes.Aggregate(MembershipCodec.Encode(time).ToByteArray(), Damage);
            return Try(() => JsonSerializer.Deserialize(json, MembershipJson.Default.HeartbeatValue))?.IAmAliveTime == SiloRowReader.TryReadHeartbeat(json);
        },
        iter: Rows);

    [Fact]
    public void TryRead_EscapedNames_AreTheSameNames()
    {
        var json = """{"Silo\u0041ddress":"\u0031.2.3.4:5@6","St\u0061tus":"\u0041ctive","SiloName":"\u0061"}"""u8;
        var entry = SiloRowReader.TryRead(json, "1.2.3.4:5@6"u8, known: null)!;
        Assert.Equal((SiloStatus.Active, "a"), (entry.Status, entry.SiloName));
    }

    // Without the writer's id, which the reader has no use for and skips, damaged or not.
    private static (byte[] Json, byte[] Key) Written(MembershipEntry entry) =>
        (MembershipCodec.Encode(entry, writeId: null!).ToByteArray(), Encoding.UTF8.GetBytes(EtcdKeys.Silo(entry.SiloAddress)));

    private static byte[] Damage(byte[] json, (int Place, byte Byte, int Kind) change)
    {
        var place = change.Place % json.Length;
        return change.Kind switch
        {
            0 => [.. json[..place], change.Byte, .. json[(place + 1)..]],
            1 => [.. json[..place], .. json[(place + 1)..]],
            _ => [.. json[..place], change.Byte, .. json[place..]],
        };
    }

    private static MembershipEntry? Deserialized(byte[] json, byte[] key)
    {
        if (Try(() => JsonSerializer.Deserialize(json, MembershipJson.Default.SiloValue)) is not { SiloAddress: not null } value)
            return null;
        if (!SiloAddress.TryParse(Encoding.UTF8.GetBytes(value.SiloAddress), out var silo) || !key.SequenceEqual(Encoding.UTF8.GetBytes(EtcdKeys.Silo(silo))) || !Enum.IsDefined(value.Status))
            return null;
        // Here the reader is stricter: it knows the names, not whatever else an enumeration may be parsed from ("active", "Active,").
        if (JsonElement.Parse(json).GetProperty("Status") is { ValueKind: JsonValueKind.String } status && !Enum.GetNames<SiloStatus>().Contains(status.GetString()))
            return null;
        var votes = value.SuspectTimes?.Select(vote => vote?.Silo is { } voter && SiloAddress.TryParse(Encoding.UTF8.GetBytes(voter), out var by) ? Tuple.Create(by, vote.Time) : null).ToList();
        return votes?.Contains(null) == true ? null : new MembershipEntry
        {
            SiloAddress = silo,
            Status = value.Status,
            SiloName = value.SiloName!,
            HostName = value.HostName!,
            RoleName = value.RoleName,
            ProxyPort = value.ProxyPort,
            UpdateZone = value.UpdateZone,
            FaultZone = value.FaultZone,
            StartTime = value.StartTime,
            IAmAliveTime = value.IAmAliveTime,
            SuspectTimes = votes!,
        };
    }

    private static T? Try<T>(Func<T?> read)
        where T : class
    {
        try
        {
            return read();
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static bool Same(MembershipEntry? a, MembershipEntry? b) => Described(a) == Described(b);

    private static string Described(MembershipEntry? entry) => entry is null ? "null" : JsonSerializer.Serialize(new
    {
        Silo = entry.SiloAddress.ToParsableString(),
        entry.Status,
        entry.SiloName,
        entry.HostName,
        entry.RoleName,
        entry.ProxyPort,
        entry.UpdateZone,
        entry.FaultZone,
        entry.StartTime,
        entry.IAmAliveTime,
        Votes = entry.SuspectTimes?.Select(vote => $"{vote.Item1.ToParsableString()} {vote.Item2:O}"),
    });
}
