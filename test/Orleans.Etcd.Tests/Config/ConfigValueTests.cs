using System.Text;
using System.Text.Json.Serialization;
using Xunit;

namespace Orleans.Etcd.Tests.Config;

/// <summary>Values as types.</summary>
public sealed class ConfigValueTests
{
    private enum Colour
    {
        Red = 1,
        Green,
    }

    [Fact]
    public void Value_ThatParses_IsOfItsType()
    {
        Assert.Equal(42, As<int>("42"));
        Assert.Equal(42, As<int?>(" 42\n"));
        Assert.Equal(-1L, As<long>("-1"));
        Assert.Equal(1.5, As<double>("1.5"));
        Assert.Equal(1.5m, As<decimal>("1.5"));
        Assert.True(As<bool>("true") && As<bool>("True") && As<bool>("1"));
        Assert.False(As<bool>("false") || As<bool>("0"));
        Assert.Equal(TimeSpan.FromSeconds(90), As<TimeSpan>("00:01:30"));
        Assert.Equal(Colour.Green, As<Colour>("green"));
        Assert.Equal(Colour.Red, As<Colour>("1"));
        Assert.Equal(Guid.Parse("7d1c3f9e-7a6f-4f2d-9c55-0c2a3a1f8f10"), As<Guid>("7d1c3f9e-7a6f-4f2d-9c55-0c2a3a1f8f10"));
        Assert.Equal(new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero), As<DateTimeOffset>("2026-01-02T03:04:05Z"));
        Assert.Equal(new DateTime(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc), As<DateTime>("2026-01-02T03:04:05Z"));
        Assert.Equal(DateTimeKind.Utc, As<DateTime>("2026-01-02T03:04:05Z").Kind);
        Assert.Equal(new DateOnly(2026, 1, 2), As<DateOnly>("2026-01-02"));
        Assert.Equal(new TimeOnly(3, 4), As<TimeOnly>("03:04"));
        Assert.Equal(" a ", As<string>(" a "));
        Assert.Equal(new byte[] { 0xff, 0 }, new ConfigValue("k", [0xff, 0], 1, null).As<byte[]>());
        Assert.Equal(["a", "b"], As<string[]>("""["a","b",]"""));
        Assert.Equal(new Limits(5, Colour.Green), As<Limits>("""{"max":5,"colour":"Green"}"""));
        Assert.Equal("", As<string>(""));
    }

    [Fact]
    public void Value_ThatDoesNotParse_IsRefusedByKeyAndType_AndNotQuoted()
    {
        Refused<int>("secret");
        Refused<int>("");
        Refused<int>("99999999999");
        Refused<byte>("-1");
        Refused<bool>("secret");
        Refused<TimeSpan>("secret");
        Refused<Colour>("secret");
        Refused<Guid>("secret");
        Refused<DateTimeOffset>("secret");
        Refused<Limits>("secret");
        Refused<Limits>("null");
        Refused<Limits>("""{"max":"secret"}""");
        Refused<IDisposable>("""{"a":"secret"}""");

        static void Refused<T>(string text)
        {
            var exception = Assert.Throws<FormatException>(() => As<T>(text));
            Assert.Contains("'key'", exception.Message);
            Assert.Contains(typeof(T).Name, exception.Message);
            Assert.DoesNotContain("secret", exception.ToString());
        }
    }

    private static T As<T>(string text) => new ConfigValue("key", Encoding.UTF8.GetBytes(text), 1, null).As<T>();

    private sealed record Limits([property: JsonPropertyName("max")] int Max, Colour Colour);
}
