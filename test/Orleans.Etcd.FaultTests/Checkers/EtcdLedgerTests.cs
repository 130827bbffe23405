using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Workloads;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>The checker of fences on histories written by hand.</summary>
public sealed class EtcdLedgerTests
{
    [Fact]
    public void WriteOfALowerTokenThanBefore_IsFound()
    {
        Assert.Empty(EtcdLedger.Check(Log("0a", "0a", "0b", "1f"), Log()));
        Assert.Single(EtcdLedger.Check(Log("0a", "0c", "0b", "0c"), Log()));
        // Without it no token is too low.
        Assert.Single(EtcdLedger.Check(Log("0a", null), Log()));
    }

    [Fact]
    public void WriteWithoutItsFence_IsFound()
    {
        Assert.Empty(EtcdLedger.Check(Log("0a", "0b"), Log("1", "1,2")));
        Assert.Single(EtcdLedger.Check(Log("0a", "0b"), Log("1", "1,2", "1,2,3")));
    }

    private static LogPart Log(params string?[] tokens) => new(
        1,
        ImmutableSortedDictionary<string, string>.Empty,
        [.. tokens.Select((token, number) => new Revision(number + 2, number, new Dictionary<string, string?> { [""] = token }.ToImmutableSortedDictionary(StringComparer.Ordinal)))]);
}
