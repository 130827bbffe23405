using Xunit;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>How long etcd is said to have been away, on answers written by hand.</summary>
public sealed class EtcdProbeTests
{
    [Theory]
    [InlineData(10, 100, 40, new long[] { 20, 60, 90 })]
    [InlineData(10, 100, 90, new long[] { })]
    [InlineData(10, 100, 70, new long[] { 5, 80, 120 })]
    public void LongestOutage_IsTheLongestTimeWithoutAnAnswer(long from, long to, long outage, long[] answered) =>
        Assert.Equal(TimeSpan.FromMicroseconds(outage), EtcdProbe.LongestOutage(answered, from, to));
}
