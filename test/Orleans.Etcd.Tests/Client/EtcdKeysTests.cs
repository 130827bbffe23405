using CsCheck;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

public sealed class EtcdKeysTests
{
    private static readonly Gen<string> Segment = Gen.Char["ab/%2F5 \n\0\x7f\u00e4\u00df\u65e5"].Array[1, 8].Select(chars => new string(chars));

    [Fact]
    public void Escape_DifferentSegments_GiveDifferentKeys() =>
        Gen.Select(Segment, Segment).Sample(
            (a, b) => (a == b) == (EtcdKeys.Escape(a, "a") == EtcdKeys.Escape(b, "b")), iter: 20_000);

    [Fact]
    public void Cluster_DifferentIds_NeverSeeEachOther() =>
        Gen.Select(Segment, Segment, Segment, Segment).Sample(
            (s1, c1, s2, c2) =>
            {
                var (first, second) = (EtcdKeys.Cluster("p", s1, c1), EtcdKeys.Cluster("p", s2, c2));
                return (s1, c1) == (s2, c2)
                    ? first == second
                    : !first.StartsWith(second, StringComparison.Ordinal) && !second.StartsWith(first, StringComparison.Ordinal);
            },
            iter: 20_000);

    [Fact]
    public void Escape_AnySegment_HoldsNoSlashAndNoControlCharacter() =>
        Gen.String[1, 50].Where(EtcdKeys.IsUtf8).Sample(
            text => !EtcdKeys.Escape(text, "a").Any(c => c is '/' or < ' ' or '\x7f'), iter: 5_000);

    [Theory]
    [InlineData("prod", "prod")]
    [InlineData("prod eu", "prod eu")]
    [InlineData("a/b", "a%2Fb")]
    [InlineData("a%2Fb", "a%252Fb")]
    [InlineData("a\n\0", "a%0A%00")]
    [InlineData("zürich-日本-😀", "zürich-日本-😀")]
    public void Escape_Segment_IsReadable(string segment, string expected) => Assert.Equal(expected, EtcdKeys.Escape(segment, "id"));

    [Fact]
    public void Escape_NotAText_IsRefusedByName()
    {
        // Not a theory: the runner itself would replace the lone surrogates.
        foreach (var segment in new[] { "", "lone \ud800 surrogate", "\udc00" })
        {
            var exception = Assert.Throws<ArgumentException>(() => EtcdKeys.Escape(segment, "clusterId"));
            Assert.Equal("clusterId", exception.ParamName);
        }
    }

    [Fact]
    public void Escape_TooLong_IsRefusedByName()
    {
        EtcdKeys.Escape(new string('a', EtcdKeys.MaxSegmentLength), "clusterId");
        var exception = Assert.Throws<ArgumentException>(() => EtcdKeys.Escape(new string('a', EtcdKeys.MaxSegmentLength + 1), "clusterId"));
        Assert.Contains("clusterId has 1025 characters", exception.Message);
    }

    [Fact]
    public void RangeEnd_OfAPrefix_EndsBeforeItsNeighbours()
    {
        var end = EtcdKeys.RangeEnd("p/s/prod/").ToStringUtf8();
        Assert.True(string.CompareOrdinal("p/s/prod/\uffff", end) < 0);
        Assert.True(string.CompareOrdinal("p/s/prod-eu/a", "p/s/prod/") < 0);
        Assert.True(string.CompareOrdinal("p/s/prod0", end) >= 0);
    }
}
