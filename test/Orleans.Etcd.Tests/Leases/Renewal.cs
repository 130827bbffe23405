using System.Diagnostics;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>Waits for renewals, as the lease itself knows of them.</summary>
internal static class Renewal
{
    /// <summary>Waits for the answer to a renewal that is sent from now on.</summary>
    public static async Task NextAsync(EtcdLease lease)
    {
        var began = Stopwatch.GetTimestamp();
        while (true)
        {
            // What remains counts from the sending, so together they are more than the whole only after a later one.
            var elapsed = Stopwatch.GetElapsedTime(began);
            if (lease.Remaining + elapsed > Whole(lease))
                break;
            Assert.False(lease.HasEnded, $"the lease is {lease.State}");
            Assert.True(elapsed < TimeSpan.FromSeconds(30), "no renewal is answered within 30 s");
            await Task.Delay(10);
        }

        Assert.False(lease.Lost.IsCancellationRequested);
    }

    /// <summary>What remains at the moment of a renewal.</summary>
    private static TimeSpan Whole(EtcdLease lease) => lease.Ttl - TimeSpan.FromSeconds(Math.Min(0.5, lease.Ttl.TotalSeconds / 10));
}
