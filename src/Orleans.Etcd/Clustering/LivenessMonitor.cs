using System.Security.Cryptography;
using System.Text;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Sees that another silo's lease is gone, and has those chosen for it find out and declare it dead.</summary>
/// <remarks>
/// Invariants. (1) A silo is evicted only while its lease is gone, in the order that etcd has for all, and the table does not
/// say that it is dead; under the default policy only when it answered none of the agents, and each of them said so, and not
/// for refusing them before it had the grace to write its key again. (2) One whose lease went together
/// with more than half of all only when it has stayed away for two TTLs, in which whoever lives has got another, and never
/// unasked; where no process was found to be gone, time is left for the others to go too.
/// (3) Never by a silo that has not held its own lease for a whole TTL, or whose view of the leases is not up to date,
/// or that has not yet looked at the newest of it: it cannot judge. Nor by one that cannot read the table. All of this is looked at again after the silo was
/// asked, before each write of the table. (4) What is found to be dead is written until the table says so, and what is
/// written is written at once or not at all. (5) Nothing is read from etcd but once for each loss.
/// </remarks>
internal sealed partial class LivenessMonitor(
    LiveView leases,
    LivenessLease own,
    EtcdMembershipTable table,
    IClusterMembershipService membership,
    LivenessProbe probe,
    EtcdEvictionPolicy policy,
    int agentCount,
    TimeSpan grace,
    SiloAddress self,
    TimeProvider time,
    ILogger logger)
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan RefreshTimeout = TimeSpan.FromSeconds(2);

    // etcd looks for leases that have expired twice a second.
    private static readonly TimeSpan ExpiryInterval = TimeSpan.FromMilliseconds(500);

    // The leases may all have gone because etcd was away: it takes the living a moment to come back.
    private const int TtlsOfACrowd = 2;

    private readonly LeaseLosses _losses = new(time);
    private readonly Dictionary<SiloAddress, Task> _cases = [];
    private volatile RangeSnapshot? _seen;

    /// <summary>Leases cut off at one moment go within this time of each other.</summary>
    private TimeSpan Spread => (own.Ttl / 3) + ExpiryInterval;

    /// <summary>Watches the leases until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        var again = false;
        var failures = 0;
        try
        {
            while (!stop.IsCancellationRequested)
            {
                await leases.WaitAsync(view => view != _seen, again ? Tick : Timeout.InfiniteTimeSpan, stop).ConfigureAwait(false);
                try
                {
                    await LookAsync(stop).ConfigureAwait(false);
                    again = _losses.Open.Count > 0 || _losses.AnyMissing;
                    failures = 0;
                }
                catch (Exception exception) when (!stop.IsCancellationRequested)
                {
                    if (failures++ == 0)
                        Log.CannotLook(logger, exception);
                    await PauseAsync(Backoff(failures), stop).ConfigureAwait(false);
                }
            }
        }
        finally
        {
            await Task.WhenAll(_cases.Values).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private async Task LookAsync(CancellationToken stop)
    {
        var seen = leases.Snapshot!;
        var present = seen.Values.Keys.ToHashSet();
        if (_losses.IsNews(present, Members(dead: true).Keys.ToHashSet()))
        {
            // Who left in good order gave the lease back after the table said that it was dead.
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
            limit.CancelAfter(RefreshTimeout);
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
        var failures = 0;
        while (!loss.IsOver && !stop.IsCancellationRequested)
        {
            var pause = Tick;
            try
            {
                pause = await StepAsync(loss, told, stop).ConfigureAwait(false);
                failures = 0;
            }
            catch (Exception exception) when (!stop.IsCancellationRequested)
            {
                if (told.Add("failed"))
                    Log.CannotExamine(logger, exception, loss.Silo);
                pause = Backoff(++failures);
            }
            catch (Exception)
            {
                return;
            }

            await PauseAsync(pause, stop).ConfigureAwait(false);
        }
    }

    /// <summary>Does what can be done now, and answers how long to wait before looking again.</summary>
    private async Task<TimeSpan> StepAsync(LeaseLosses.Loss loss, HashSet<string> told, CancellationToken stop)
    {
        var agents = Agents(loss.Silo);
        if (!agents.Contains(self) || !MayJudge(loss, told))
            return Tick;
        if (told.Add("gone"))
        {
            EtcdMeter.Losses.Add(1);
            Log.Gone(logger, loss.Silo);
        }

        // A lease that this silo never saw may never have been, and one of many says little: that is no reason to kill anybody unasked.
        if (policy == EtcdEvictionPolicy.EvictWhenUnreachable || (policy == EtcdEvictionPolicy.EvictOnLeaseLoss && (loss.WasNeverSeen || loss.InCrowd)))
            return await AskAsync(loss, agents, told, stop).ConfigureAwait(false);
        if (policy == EtcdEvictionPolicy.EvictOnLeaseLoss)
            return LeftOf(Spread, loss) is { } left ? left : await EvictAsync(loss, "lease-lost", told, stop).ConfigureAwait(false);
        if (told.Add("reported"))
            Log.ReportedOnly(logger, loss.Silo);
        return own.Ttl;
    }

    private async Task<TimeSpan> AskAsync(LeaseLosses.Loss loss, List<SiloAddress> agents, HashSet<string> told, CancellationToken stop)
    {
        var verdict = await probe.AskAsync(loss.Silo, [.. agents.Where(agent => !agent.Equals(self))], stop).ConfigureAwait(false);
        // Asked again then.
        if (verdict == LivenessVerdict.Refused && LeftOf(grace, loss) is { } early)
            return early;
        if (verdict == LivenessVerdict.Silent && LeftOf(Spread, loss) is { } left)
            await PauseAsync(left, stop).ConfigureAwait(false);
        if (verdict is LivenessVerdict.Silent or LivenessVerdict.Refused)
            return await EvictAsync(loss, "unreachable", told, stop).ConfigureAwait(false);
        if (verdict == LivenessVerdict.Unheard)
            return Tick;
        if (!loss.IsOver && told.Add("answered"))
            Log.Answered(logger, loss.Silo);
        return own.Ttl;
    }

    /// <summary>Whether this silo can tell a dead silo from a fault of etcd's or its own.</summary>
    private bool MayJudge(LeaseLosses.Loss loss, HashSet<string> told)
    {
        // Counted from when this silo has its own: before that etcd may have been away for all.
        if (loss.InCrowd && (own.Age < own.Ttl * TtlsOfACrowd || time.GetElapsedTime(loss.Since) < own.Ttl * TtlsOfACrowd))
        {
            if (told.Add("crowd"))
                Log.InCrowd(logger, loss.Silo, own.Ttl, own.Ttl * TtlsOfACrowd);
            return false;
        }

        // What the losses were made of is what there is now: a lease that is back, or a crowd, would show there first.
        if (own.IsHeld && own.Age >= own.Ttl && leases.LastError is null)
            return leases.Snapshot == _seen;
        if (told.Add("doubt"))
            Log.InDoubt(logger, loss.Silo);
        return false;
    }

    private async Task<TimeSpan> EvictAsync(LeaseLosses.Loss loss, string reason, HashSet<string> told, CancellationToken stop)
    {
        if (loss.IsOver || !MayJudge(loss, told))
            return Tick;
        var done = await table.TryDeclareDeadAsync(loss.Silo, self, stop).ConfigureAwait(false);
        if (done == Eviction.Overtaken)
            return TimeSpan.FromMilliseconds(Random.Shared.Next(5, 50));
        // The watch will show it.
        if (done == Eviction.HasKey)
            return Tick;
        if (done == Eviction.Done)
        {
            EtcdMeter.Evictions.Add(1, new KeyValuePair<string, object?>("reason", reason));
            Log.Evicted(logger, loss.Silo, reason);
        }

        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(RefreshTimeout);
        await membership.Refresh(cancellationToken: limit.Token).ConfigureAwait(false);
        return Tick;
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

    private TimeSpan? LeftOf(TimeSpan span, LeaseLosses.Loss loss) =>
        span - time.GetElapsedTime(loss.Since) is var left && left > TimeSpan.Zero ? left : null;

    private static TimeSpan Backoff(int failures) =>
        TimeSpan.FromTicks(Math.Min(Tick.Ticks << Math.Min(failures - 1, 10), LongestPause.Ticks));

    private async Task PauseAsync(TimeSpan pause, CancellationToken stop) =>
        await Task.Delay(pause, time, stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
}
