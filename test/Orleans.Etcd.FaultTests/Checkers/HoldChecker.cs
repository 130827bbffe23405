using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>Whether those who held a lock, a semaphore or a reader-writer lock held it alone, or with as many as may be.</summary>
/// <remarks>Tokens tell the order of grants, so there is no order to search for: what follows is checked in one pass each.</remarks>
internal static class HoldChecker
{
    /// <summary>How late a holder may be told that etcd has taken its lease away although it was renewed.</summary>
    public static readonly TimeSpan RevokedToldWithin = TimeSpan.FromSeconds(1);

    /// <summary>How much later than whoever came after it the recorder may hear, from other members, that a key was gone.</summary>
    private static readonly TimeSpan HeardWithin = TimeSpan.FromSeconds(1);

    /// <param name="holds">Who held what.</param>
    /// <param name="taken">The tokens whose keys etcd took away with their leases, and when.</param>
    /// <param name="mayRevoke">Whether etcd may have done so at a moment to leases that were renewed.</param>
    /// <param name="findings">What is found.</param>
    /// <param name="thawed">When silos that stood still went on.</param>
    /// <param name="toldWithin">How late a holder may be told of what was gone at a moment.</param>
    public static void Check(IReadOnlyCollection<Hold> holds, IReadOnlyDictionary<long, long> taken, Func<long, bool> mayRevoke, Findings findings, IReadOnlyCollection<(string Silo, long At)>? thawed = null, Func<long, TimeSpan>? toldWithin = null)
    {
        toldWithin ??= _ => RevokedToldWithin;
        foreach (var twice in holds.GroupBy(hold => hold.Token).Where(group => group.Count() > 1))
            findings.Violated($"token {twice.Key} was given {twice.Count()} times");
        CheckOrder(holds, findings);
        CheckTold(holds, taken, mayRevoke, findings, thawed ?? [], toldWithin);
        foreach (var (earlier, later) in Overlaps(holds, taken))
        {
            // The key of the one was gone when the other was let in; of that is heard a little later.
            var late = TimeSpan.FromMicroseconds(Math.Min(earlier.Until, later.Until) - Math.Max(earlier.From, later.From));
            if (!taken.TryGetValue(earlier.Token, out var gone) || !mayRevoke(gone) || late > toldWithin(gone) || gone > later.From + HeardWithin.Micros())
                findings.Violated($"{earlier} believed in it for {late.TotalMilliseconds:0.0} ms while {later} had it");
        }
    }

    /// <summary>Where nothing was done to anybody, nobody is told of a loss.</summary>
    public static void CheckUndisturbed(IEnumerable<Hold> holds, Findings findings)
    {
        foreach (var hold in holds.Where(hold => hold.Told is not null))
            findings.Violated($"{hold} was told to be lost without any fault");
    }

    /// <summary>Whoever held on to what was gone is told, in time.</summary>
    private static void CheckTold(IReadOnlyCollection<Hold> holds, IReadOnlyDictionary<long, long> taken, Func<long, bool> mayRevoke, Findings findings, IReadOnlyCollection<(string Silo, long At)> thawed, Func<long, TimeSpan> toldWithin)
    {
        foreach (var hold in holds)
        {
            if (!taken.TryGetValue(hold.Token, out var gone))
                continue;
            var told = Math.Max(hold.Until, hold.Told ?? hold.Ended);
            // Who stands still cannot be told.
            var since = thawed.Where(one => one.Silo == hold.Where && one.At <= told).Select(one => one.At).Append(gone).Max();
            var late = TimeSpan.FromMicroseconds(told - since);
            // Where etcd had no reason, it has waited for the lease to end, and its owner knew before.
            var limit = mayRevoke(gone) ? toldWithin(gone) : since > gone ? RevokedToldWithin : TimeSpan.Zero;
            if (late > limit)
                findings.Violated($"{hold} was gone at {gone}, and its holder was {(hold.Told is null ? "not told" : "told")} {late.TotalMilliseconds:0.0} ms later");
            else if (hold.Until > gone && !mayRevoke(gone))
                findings.Violated($"{hold} was believed in for {(hold.Until - gone) / 1e3:0.0} ms after it was gone");
            else if (hold.Until > gone)
                findings.Count($"holders whose live lease was taken away, {(hold.Told is null ? "done before they were told," : "told")} {(late <= RevokedToldWithin ? "within 1 s" : "within its TTL, with etcd away")}");
        }
    }

    /// <summary>
    /// Those who held at the same time what only one may, the one whose turn came first first: its holder may hear of that after
    /// it is gone and the other has it.
    /// </summary>
    public static IEnumerable<(Hold Earlier, Hold Later)> Overlaps(IEnumerable<Hold> holds, IReadOnlyDictionary<long, long> taken)
    {
        var open = new List<Hold>();
        foreach (var next in holds.OrderBy(hold => hold.From))
        {
            open.RemoveAll(hold => hold.Until < next.From);
            foreach (var other in open.Where(other => Excludes(other, next)))
                yield return other.Token < next.Token ? (other, next) : (next, other);
            var permits = next.Kind == HoldKind.Semaphore ? open.Where(other => other.Kind == HoldKind.Semaphore).ToArray() : [];
            // Each that is too many has to be one of which etcd had taken it away.
            foreach (var other in permits.OrderByDescending(other => taken.ContainsKey(other.Token)).ThenBy(other => other.Until).Take(permits.Length + 1 - LockWork.Permits))
                yield return (other, next);
            open.Add(next);
        }
    }

    private static bool Excludes(Hold one, Hold other) => (one.Kind, other.Kind) is (HoldKind.Lock, HoldKind.Lock) or (HoldKind.Write, HoldKind.Write or HoldKind.Read) or (HoldKind.Read, HoldKind.Write);

    /// <summary>Whoever asked after another was given a token gets a higher one, as what it may be: all stand in one line.</summary>
    private static void CheckOrder(IReadOnlyCollection<Hold> holds, Findings findings)
    {
        var given = new Queue<Hold>(holds.OrderBy(hold => hold.From));
        Hold? highest = null;
        foreach (var hold in holds.OrderBy(hold => hold.Asked))
        {
            while (given.TryPeek(out var before) && before.From < hold.Asked)
            {
                given.Dequeue();
                highest = highest is null || before.Token > highest.Token ? before : highest;
            }

            if (highest is not null && hold.Token <= highest.Token)
                findings.Violated($"{hold} was given after {highest}, and its token is not higher");
        }
    }
}
