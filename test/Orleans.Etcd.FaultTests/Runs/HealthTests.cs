using Xunit;

namespace Orleans.Etcd.FaultTests.Runs;

public sealed class HealthTests
{
    private static readonly Health First = new(20L << 20, 600L << 20, 140, 1_400, 33, 26, 12);

    /// <summary>The most that was seen of each, after 28 runs of one deployment.</summary>
    [Fact]
    public void WhatComesAndGoes_HasNotGrown() =>
        Assert.Empty(new Health(24L << 20, 905L << 20, 142, 1_499, 39, 32, 12).GrownSince(First));

    [Fact]
    public void EachThatGrows_IsNamed()
    {
        Health[] grown =
        [
            First with { TestMemory = 50L << 20 },
            First with { SiloMemory = 1_600L << 20 },
            First with { Threads = 210 },
            First with { Descriptors = 1_800 },
            First with { Streams = 60 },
            First with { Watchers = 50 },
            First with { Leases = 30 },
        ];
        Assert.All(grown, health => Assert.Single(health.GrownSince(First)));
    }
}
