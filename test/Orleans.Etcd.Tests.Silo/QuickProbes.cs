using Orleans.Configuration;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Orleans' own failure detection in seconds rather than tens of them, so that a test need not wait for it.</summary>
public static class QuickProbes
{
    public static void ProbeQuickly(this ClusterMembershipOptions options)
    {
        options.ProbeTimeout = TimeSpan.FromSeconds(1);
        options.NumMissedProbesLimit = 2;
        options.TableRefreshTimeout = TimeSpan.FromSeconds(5);
    }
}
