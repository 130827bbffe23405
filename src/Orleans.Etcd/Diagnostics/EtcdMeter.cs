using System.Diagnostics.Metrics;

namespace Orleans.Etcd;

/// <summary>The meter <c>Orleans.Etcd</c>. Names and units are listed in the README.</summary>
internal static class EtcdMeter
{
    public const string Name = "Orleans.Etcd";

    private static readonly Meter Meter = new(Name);

    public static readonly Histogram<double> RequestDuration =
        Meter.CreateHistogram<double>("orleans.etcd.request.duration", "s", "Time of a request to etcd, retries included, by operation and outcome.");

    public static readonly Counter<long> Requests =
        Meter.CreateCounter<long>("orleans.etcd.requests", "{request}", "Requests sent to etcd, each retry counted, by operation.");

    public static readonly Counter<long> RequestErrors =
        Meter.CreateCounter<long>("orleans.etcd.request.errors", "{error}", "Failed attempts, by operation and error.");

    public static readonly Counter<long> Failovers =
        Meter.CreateCounter<long>("orleans.etcd.endpoint.failovers", "{failover}", "Times that calls moved on from a member that failed or hung.");

    public static readonly Counter<long> LeaseRenewals =
        Meter.CreateCounter<long>("orleans.etcd.lease.renewals", "{renewal}", "Answered lease renewals.");

    public static readonly Counter<long> LeasesLost =
        Meter.CreateCounter<long>("orleans.etcd.lease.lost", "{lease}", "Leases lost without being revoked by their owner.");

    public static readonly Counter<long> WatchReopens =
        Meter.CreateCounter<long>("orleans.etcd.watch.reopens", "{reopen}", "Watches opened again after their stream ended.");

    public static readonly Counter<long> WatchResyncs =
        Meter.CreateCounter<long>("orleans.etcd.watch.resyncs", "{resync}", "Full reads by watches: at start, after compaction, after a restore.");

    public static readonly Counter<long> UnreadableValues =
        Meter.CreateCounter<long>("orleans.etcd.values.unreadable", "{value}", "Values under our prefix that could not be parsed and were skipped.");

    public static readonly Counter<long> Conflicts =
        Meter.CreateCounter<long>("orleans.etcd.membership.conflicts", "{write}", "Writes of the membership table that were refused because another silo had written first.");

    public static readonly Counter<long> Refreshes =
        Meter.CreateCounter<long>("orleans.etcd.membership.refreshes", "{refresh}", "Reads of the membership table that a push caused, by outcome.");

    public static readonly Counter<long> Losses =
        Meter.CreateCounter<long>("orleans.etcd.liveness.losses", "{silo}", "Other silos whose lease was found to be gone by this one, chosen to find out about them.");

    public static readonly Counter<long> Pings =
        Meter.CreateCounter<long>("orleans.etcd.liveness.pings", "{ping}", "Silos asked whether they live after their lease was gone, by outcome.");

    public static readonly Counter<long> Evictions =
        Meter.CreateCounter<long>("orleans.etcd.liveness.evictions", "{silo}", "Silos that this one declared dead after their lease was gone, by reason.");

    public static readonly Histogram<double> LockAcquireDuration =
        Meter.CreateHistogram<double>("orleans.etcd.lock.acquire.duration", "s", "Time from asking for a lock to the answer, waiting included, by kind and outcome.");

    public static readonly UpDownCounter<long> LocksWaiting =
        Meter.CreateUpDownCounter<long>("orleans.etcd.lock.waiting", "{request}", "Requests for locks that this process waits for, by kind.");

    public static readonly UpDownCounter<long> LocksHeld =
        Meter.CreateUpDownCounter<long>("orleans.etcd.lock.held", "{lock}", "Locks that this process holds, by kind.");

    public static readonly Counter<long> LocksLost =
        Meter.CreateCounter<long>("orleans.etcd.lock.lost", "{lock}", "Locks that this process held and lost without releasing them, by kind.");

    public static readonly UpDownCounter<long> ConfigObservers =
        Meter.CreateUpDownCounter<long>("orleans.etcd.config.observers", "{observer}", "Those who are told of namespaces: observers by the silo, subscriptions by their own process.");

    public static readonly Counter<long> ConfigNotifications =
        Meter.CreateCounter<long>("orleans.etcd.config.notifications", "{notification}", "Notifications of namespaces that were handled.");

    public static readonly Counter<long> ConfigDrops =
        Meter.CreateCounter<long>("orleans.etcd.config.drops", "{drop}", "Times that somebody was so slow, or away for so long, that the whole namespace was told instead of its changes.");

    public static readonly Histogram<long> ConfigLag =
        Meter.CreateHistogram<long>("orleans.etcd.config.lag", "{revision}", "By how many revisions of etcd's a namespace was ahead when an observer had handled a notification.");

    public static readonly Counter<long> ConfigReloads =
        Meter.CreateCounter<long>("orleans.etcd.config.reloads", "{reload}", "Reloads of IConfiguration that changes in etcd have caused.");

    public static readonly ObservableGauge<double> LeaseAge =
        Meter.CreateObservableGauge("orleans.etcd.liveness.lease.age", () => LivenessLease.MeasureAll(lease => lease.Age), "s", "How long this silo has held its present lease; 0 while it has none.");

    public static readonly ObservableGauge<double> LeaseRemaining =
        Meter.CreateObservableGauge("orleans.etcd.liveness.lease.remaining", () => LivenessLease.MeasureAll(lease => lease.Remaining), "s", "How long until this silo's lease is lost unless a renewal is answered; 0 while it has none.");
}
