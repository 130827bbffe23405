using System.Diagnostics;

namespace Orleans.Etcd.FaultTests.Histories;

internal static class MonotonicClock
{
    /// <summary>Microseconds of the machine's monotonic clock.</summary>
    public static long Now => Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);

    public static long Micros(this TimeSpan time) => (long)time.TotalMicroseconds;
}
