using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>Whether those who held a lock, a semaphore or a reader-writer lock held it alone, or with as many as may be.</summary>
/// <remarks>Tokens tell the order of grants, so there is no order to search for: what follows is checked in one pass each.</remarks>
internal static class HoldChecker
{
    /// <summary>How late a holder may be told that etcd has taken its lease away although it was renewed.</summary>
    public static readonly TimeSpan RevokedToldWithin = TimeSpan.FromSeconds(1);

    public static void Check(IReadOnlyCollection<Hold> holds, bool mayRevoke, Findings findings)
    {
        foreach (var twice in holds.GroupBy(hold => hold.Token).Where(group => group.Count() > 1 && Excludes(group.First(), group.Last())))
            findings.Violated($"token {twice.Key} was given {twice.Count()} times");
        CheckOrder([.. holds.Where(hold => hold.Kind == HoldKind.Lock)], findings);
        foreach (var (earlier, later) in Overlaps(holds))
        {
            var late = TimeSpan.FromMicroseconds(Math.Min(earlier.Until, later.Until) - later.From);
            if (!mayRevoke || late > RevokedToldWithin)
                findings.Violated($"{earlier} believed in it for {late.TotalMilliseconds:0.0} ms while {later} had it");
            else
                findings.Count("holders whose live lease was taken away, told within 1 s");
        }
    }

    /// <summary>Those who held at the same time what only one may, the one who came first first.</summary>
    public static IEnumerable<(Hold Earlier, Hold Later)> Overlaps(IEnumerable<Hold> holds)
    {
        var open = new List<Hold>();
        foreach (var next in holds.OrderBy(hold => hold.From))
        {
            open.RemoveAll(hold => hold.Until < next.From);
            foreach (var other in open.Where(other => Excludes(other, next)))
                yield return (other, next);
            if (next.Kind == HoldKind.Semaphore && open.Count(other => other.Kind == HoldKind.Semaphore) >= LockWork.Permits)
                yield return (open.Where(other => other.Kind == HoldKind.Semaphore).MinBy(other => other.Until)!, next);
            open.Add(next);
        }
    }

    private static bool Excludes(Hold one, Hold other) => (one.Kind, other.Kind) is (HoldKind.Lock, HoldKind.Lock) or (HoldKind.Write, HoldKind.Write or HoldKind.Read) or (HoldKind.Read, HoldKind.Write);

    /// <summary>Whoever asked after another was given a token gets a higher one.</summary>
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
