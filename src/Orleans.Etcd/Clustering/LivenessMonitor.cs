using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Sees that another silo's lease is gone, and has those chosen for it find out and declare it dead.</summary>
/// <remarks>
/// Invariants. (1) A silo is evicted only while its lease is gone and the table does not say that it is dead; under the
/// default policy only when it answered none of the agents, and each of them said so. (2) Never one whose lease went
/// together with more than half of all. (3) Never by a silo that has not held its own lease for a whole TTL, or whose
/// views of etcd are not up to date: it cannot judge. Both are looked at again after the silo was asked. (4) What is
/// found to be dead is evicted again until the table says so. (5) Nothing is read from etcd but once for each loss.
/// </remarks>
internal sealed partial class LivenessMonitor(
    LiveView leases,
    LivenessLease own,
    EtcdMembershipTable table,
    IClusterMembershipService membership,
    LivenessProbe probe,
    EtcdEvictionPolicy policy,
    int agentCount,
    SiloAddress self,
    TimeProvider time,
    ILogger<LivenessMonitor> logger)
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan EvictionTimeout = TimeSpan.FromSeconds(2);

    // etcd looks for leases that have expired twice a second.
    private static readonly TimeSpan ExpiryInterval = TimeSpan.FromMilliseconds(500);

    private readonly LeaseLosses _losses = new(time);
    private readonly Dictionary<SiloAddress, Task> _cases = [];
    private RangeSnapshot? _seen;

    /// <summary>Watches the leases until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        var again = false;
        while (!stop.IsCancellationRequested)
        {
            await leases.WaitAsync(view => view != _seen, again ? Tick : Timeout.InfiniteTimeSpan, stop).ConfigureAwait(false);
            try
            {
                await LookAsync(stop).ConfigureAwait(false);
                again = _losses.Open.Count > 0;
            }
            catch (Exception exception) when (!stop.IsCancellationRequested)
            {
                Log.CannotLook(logger, exception);
                again = true;
            }
        }

        await Task.WhenAll(_cases.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task LookAsync(CancellationToken stop)
    {
        var seen = leases.Snapshot!;
        var present = seen.Values.Keys.ToHashSet();
        if (_losses.IsNews(present, Members(dead: true).Keys.ToHashSet()))
        {
            // Who left in good order gave the lease back after the table said that it was dead.
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
            limit.CancelAfter(EvictionTimeout);
            await membership.Refresh(cancellationToken: limit.Token).ConfigureAwait(false);
        }

        _losses.Update(present, Members(dead: false), own.Ttl);
        _seen = seen;
        foreach (var (silo, examined) in _cases)
        {
            if (examined.IsCompleted)
                _cases.Remove(silo);
        }

        foreach (var loss in _losses.Open)
        {
            // Nobody judges himself: his own loss only counts for the crowd.
            if (!loss.Silo.Equals(self) && !_cases.ContainsKey(loss.Silo))
                _cases.Add(loss.Silo, Detached.Run(() => ExamineAsync(loss, stop)));
        }
    }

    /// <summary>Stays with a loss until it is over.</summary>
    private async Task ExamineAsync(LeaseLosses.Loss loss, CancellationToken stop)
    {
        var told = new HashSet<string>();
        while (!loss.IsOver && !stop.IsCancellationRequested)
        {
            var pause = Tick;
            try
            {
                pause = await StepAsync(loss, told, stop).ConfigureAwait(false);
            }
            catch (Exception exception) when (!stop.IsCancellationRequested)
            {
                Log.CannotExamine(logger, exception, loss.Silo);
            }

            await Task.Delay(pause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Does what can be done now, and answers how long to wait before looking again.</summary>
    private async Task<TimeSpan> StepAsync(LeaseLosses.Loss loss, HashSet<string> told, CancellationToken stop)
    {
        var agents = Agents(loss.Silo);
        if (!agents.Contains(self) || !MayJudge(loss, told))
            return Tick;
        if (told.Add("gone"))
            Log.Gone(logger, loss.Silo);
        switch (policy)
        {
            case EtcdEvictionPolicy.EvictOnLeaseLoss:
                // Leases cut off at one moment go within this time of each other.
                await Task.Delay((own.Ttl / 3) + ExpiryInterval, time, stop).ConfigureAwait(false);
                return loss.IsOver || !MayJudge(loss, told) ? Tick : await EvictAsync(loss, "lease-lost", stop).ConfigureAwait(false);
            case EtcdEvictionPolicy.EvictWhenUnreachable:
                var verdict = await probe.AskAsync(loss.Silo, [.. agents.Where(agent => !agent.Equals(self))], stop).ConfigureAwait(false);
                if (verdict == LivenessVerdict.Silent)
                    return loss.IsOver || !MayJudge(loss, told) ? Tick : await EvictAsync(loss, "unreachable", stop).ConfigureAwait(false);
                if (verdict == LivenessVerdict.Answered && !loss.IsOver && told.Add("answered"))
                    Log.Answered(logger, loss.Silo);
                return verdict == LivenessVerdict.Answered ? own.Ttl : Tick;
            default:
                if (told.Add("reported"))
                    Log.ReportedOnly(logger, loss.Silo);
                return own.Ttl;
        }
    }

    /// <summary>Whether this silo can tell a dead silo from a fault of etcd's or its own.</summary>
    private bool MayJudge(LeaseLosses.Loss loss, HashSet<string> told)
    {
        if (loss.InCrowd)
        {
            if (told.Add("crowd"))
                Log.InCrowd(logger, loss.Silo, own.Ttl);
            return false;
        }

        if (own.IsHeld && own.Age >= own.Ttl && leases.LastError is null && table.View.LastError is null)
            return true;
        if (told.Add("doubt"))
            Log.InDoubt(logger, loss.Silo);
        return false;
    }

    private async Task<TimeSpan> EvictAsync(LeaseLosses.Loss loss, string reason, CancellationToken stop)
    {
        Log.Evicting(logger, loss.Silo, reason);
        await membership.TryKill(loss.Silo).ConfigureAwait(false);
        // It is queued, and loses a race to another agent without a word.
        for (var asked = time.GetTimestamp(); time.GetElapsedTime(asked) < EvictionTimeout && !stop.IsCancellationRequested;)
        {
            if (!IsLiving(loss.Silo))
            {
                if (table.IsSuspectedBy(loss.Silo, self))
                    EtcdMeter.Evictions.Add(1, new KeyValuePair<string, object?>("reason", reason));
                return Tick;
            }

            await Task.Delay(20, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return TimeSpan.Zero;
    }

    /// <summary>The silos that find out about another, the same for all who look at the same view.</summary>
    private List<SiloAddress> Agents(SiloAddress silo)
    {
        var view = leases.Snapshot!;
        return
        [
            .. membership.CurrentSnapshot.Members.Values
                .Where(member => member.Status == SiloStatus.Active && !member.SiloAddress.Equals(silo) && view.Values.ContainsKey(table.Layout.LivenessKey(member.SiloAddress)))
                .Select(member => member.SiloAddress)
                .OrderBy(agent => Rank(agent, silo))
                .Take(agentCount),
        ];
    }

    private static ulong Rank(SiloAddress agent, SiloAddress silo) =>
        BitConverter.ToUInt64(SHA256.HashData(Encoding.UTF8.GetBytes($"{agent.ToParsableString()} {silo.ToParsableString()}")));

    private Dictionary<ByteString, SiloAddress> Members(bool dead) => membership.CurrentSnapshot.Members.Values
        .Where(member => member.Status == SiloStatus.Dead == dead)
        .ToDictionary(member => table.Layout.LivenessKey(member.SiloAddress), member => member.SiloAddress);

    private bool IsLiving(SiloAddress silo) => membership.CurrentSnapshot.Members.TryGetValue(silo, out var member) && member.Status != SiloStatus.Dead;
}
