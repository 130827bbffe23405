using Etcdserverpb;
using Microsoft.Extensions.Logging;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>
/// Notices that nobody listens any more where another silo did, and takes the silo's liveness key away, so that nobody has to wait
/// for the end of its lease.
/// </summary>
/// <remarks>
/// Invariants. (1) A key is taken away only where a ping failed and the silo's endpoint refused a connection, and both once more
/// when half an interval had passed: what stands before a process that lives, such as a proxy, may refuse for a moment. (2) Only
/// the key as it was before, and once for each silo: one that has written it again lives, and this silo cannot tell.
/// (3) Nobody is judged here: the loss is looked into like any other, by <see cref="LivenessMonitor"/>, which leaves a silo
/// <see cref="Grace"/> to see that and to write its key again. (4) Each silo pings so many of its successors on a ring that all
/// compute alike, with one ping waited for from each.
/// </remarks>
internal sealed partial class ProcessWatch(
    LiveView leases,
    EtcdMembershipTable table,
    IClusterMembershipService membership,
    LivenessProbe probe,
    TimeSpan interval,
    int count,
    SiloAddress self,
    TimeProvider time,
    ILogger logger)
{
    // Of each, whether this one has taken its key.
    private readonly Dictionary<SiloAddress, Task<bool>> _pings = [];

    /// <summary>How long a silo has to write its key again before its refusals are believed: a few writes of an etcd that is slow.</summary>
    public static TimeSpan Grace => TimeSpan.FromSeconds(0.5);

    /// <summary>Pings until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        while (true)
        {
            await Task.Delay(interval, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (stop.IsCancellationRequested)
                break;
            var active = membership.CurrentSnapshot.Members.Values.Where(member => member.Status == SiloStatus.Active).Select(member => member.SiloAddress).ToHashSet();
            var successors = Successors(active);
            foreach (var (silo, ping) in _pings)
            {
                // Whose key it has taken it pings no more.
                if (ping.IsCompleted && !(ping.Result && active.Contains(silo)))
                    _pings.Remove(silo);
            }

            foreach (var (silo, key) in successors.Where(successor => !_pings.ContainsKey(successor.Key)))
                _pings.Add(silo, PingAsync(silo, key, stop));
        }

        await Task.WhenAll(_pings.Values).ConfigureAwait(false);
    }

    /// <summary>The silos that this one looks after, and their keys.</summary>
    private Dictionary<SiloAddress, KeyValue> Successors(HashSet<SiloAddress> active)
    {
        if (leases.Snapshot?.Values is not { } keys || !active.Contains(self))
            return [];
        SiloAddress[] ring = [.. active.OrderBy(silo => silo.GetConsistentHashCode()).ThenBy(silo => silo)];
        var at = Array.IndexOf(ring, self);
        return ring[(at + 1)..].Concat(ring[..at])
            .Select(silo => (Silo: silo, Key: keys.GetValueOrDefault(table.Layout.LivenessKey(silo))))
            .Where(successor => successor.Key is not null)
            .Take(count)
            .ToDictionary(successor => successor.Silo, successor => successor.Key!);
    }

    private async Task<bool> PingAsync(SiloAddress silo, KeyValue key, CancellationToken stop)
    {
        var mayBeTaken = false;
        try
        {
            if (!await probe.IsGoneAsync(silo, stop).ConfigureAwait(false))
                return false;
            await Task.Delay(interval / 2, time, stop).ConfigureAwait(false);
            if (!await probe.IsGoneAsync(silo, stop).ConfigureAwait(false))
                return false;
            var request = new TxnRequest { Compare = { Txn.ModRevisionIs(key.Key, key.ModRevision) }, Success = { Txn.Delete(key.Key) } };
            // Others who look after it may have been first.
            if (!(await table.Etcd.TxnRepeatablyAsync(request, stop, () => mayBeTaken = true).ConfigureAwait(false)).Succeeded && !mayBeTaken)
                return false;
            Log.Taken(logger, silo);
            return true;
        }
        catch (Exception exception)
        {
            // The next ping tries again, or the lease ends.
            if (!stop.IsCancellationRequested)
                Log.Failed(logger, exception, silo);
            return mayBeTaken;
        }
    }

    private static partial class Log
    {
        [LoggerMessage(88, LogLevel.Warning, "Nobody listens any more at the endpoint of silo {Silo}: connections were refused twice. Its liveness key was taken away, so that it is looked into at once")]
        public static partial void Taken(ILogger logger, SiloAddress silo);

        [LoggerMessage(89, LogLevel.Debug, "Silo {Silo} could not be pinged; trying again")]
        public static partial void Failed(ILogger logger, Exception exception, SiloAddress silo);
    }
}
