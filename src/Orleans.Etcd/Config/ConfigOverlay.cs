using System.Buffers.Binary;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Orleans.Etcd;

/// <summary>Values that apply instead of the namespace's own, to those whom its rule matches.</summary>
/// <param name="Name">Its name; of several that match, the first by ordinal counts.</param>
/// <param name="Rule">Null where there is none, or none that can be read: then it applies to nobody.</param>
/// <param name="Values">By key.</param>
internal sealed record ConfigOverlay(string Name, ConfigRule? Rule, ImmutableDictionary<string, ConfigValue> Values)
{
    /// <summary>The revision that wrote the rule, readable or not; 0 where there is none.</summary>
    public long RuleRevision { get; init; }

    public static ConfigOverlay Empty(string name) => new(name, null, ImmutableDictionary.Create<string, ConfigValue>(StringComparer.Ordinal));

    public bool Matches(ConfigInstance instance)
    {
        if (Rule is null)
            return false;
        foreach (var (label, value) in Rule.Labels ?? [])
        {
            if (instance.Labels.GetValueOrDefault(label) != value)
                return false;
        }

        return Rule.Percent is not { } percent || Share(instance.Name) < percent;
    }

    /// <summary>Between 0 and 100, of one name always the same, and of other overlays another.</summary>
    private double Share(string instance)
    {
        var hash = SHA256.HashData(Encoding.UTF8.GetBytes($"{Name}\n{instance}"));
        return BinaryPrimitives.ReadUInt32BigEndian(hash) * 100.0 / (uint.MaxValue + 1.0);
    }
}

/// <summary>To whom an overlay applies: all that is given has to hold, and nothing given is everybody.</summary>
[JsonUnmappedMemberHandling(JsonUnmappedMemberHandling.Disallow)]
internal sealed class ConfigRule
{
    /// <summary>Of the instances, by a hash of their names.</summary>
    public double? Percent { get; set; }

    /// <summary>What the instance's labels have to be.</summary>
    public Dictionary<string, string>? Labels { get; set; }

    /// <summary>One that is misspelt must not apply to everybody.</summary>
    /// <exception cref="JsonException">It cannot be read, or says what it cannot mean.</exception>
    public static ConfigRule Decode(ReadOnlySpan<byte> json)
    {
        var rule = JsonSerializer.Deserialize(json, ConfigJson.Default.ConfigRule) ?? throw new JsonException();
        return rule.Percent is < 0 or > 100 || rule.Labels?.ContainsValue(null!) == true ? throw new JsonException() : rule;
    }

    public byte[] Encode() => JsonSerializer.SerializeToUtf8Bytes(this, ConfigJson.Default.ConfigRule);
}
