using System.ComponentModel;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;

namespace Orleans.Etcd;

/// <summary>Reads a value as a type.</summary>
internal static class ConfigConvert
{
    private static readonly JsonSerializerOptions Json = new(JsonSerializerDefaults.Web)
    {
        ReadCommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
        Converters = { new JsonStringEnumConverter() },
    };

    public static T To<T>(ConfigValue value)
    {
        var type = Nullable.GetUnderlyingType(typeof(T)) ?? typeof(T);
        try
        {
            return (T)To(type, value)!;
        }
        catch (Exception exception) when (exception is FormatException or OverflowException or ArgumentException or JsonException or NotSupportedException)
        {
            // Of the exception only the kind: its message may quote the value.
            throw new FormatException($"The value of '{value.Key}' (revision {value.Revision}) cannot be read as {type.Name}: {exception.GetType().Name}.");
        }
    }

    private static object? To(Type type, ConfigValue value)
    {
        if (type == typeof(string))
            return value.Text;
        if (type == typeof(byte[]))
            return value.Bytes.ToArray();
        var text = value.Text.Trim();
        if (type == typeof(bool))
            return text switch { "1" => true, "0" => false, _ => bool.Parse(text) };
        if (type.IsEnum)
            return Enum.Parse(type, text, ignoreCase: true);
        if (type == typeof(TimeSpan))
            return TimeSpan.Parse(text, CultureInfo.InvariantCulture);
        if (type == typeof(DateTimeOffset))
            return DateTimeOffset.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal);
        if (type == typeof(DateTime))
            return DateTime.Parse(text, CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind);
        if (type == typeof(DateOnly))
            return DateOnly.Parse(text, CultureInfo.InvariantCulture);
        if (type == typeof(TimeOnly))
            return TimeOnly.Parse(text, CultureInfo.InvariantCulture);
        if (type == typeof(Guid) || (type.IsPrimitive && type != typeof(nint) && type != typeof(nuint)) || type == typeof(decimal))
            return TypeDescriptor.GetConverter(type).ConvertFromInvariantString(text);
        return JsonSerializer.Deserialize(value.Bytes.Span, type, Json) ?? throw new JsonException();
    }
}
