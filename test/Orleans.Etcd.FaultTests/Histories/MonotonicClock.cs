using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Histories;

internal static class MonotonicClock
{
    /// <summary>Microseconds of the machine's monotonic clock.</summary>
    public static long Now => LockWork.Now;

    public static long Micros(this TimeSpan time) => (long)time.TotalMicroseconds;
}
