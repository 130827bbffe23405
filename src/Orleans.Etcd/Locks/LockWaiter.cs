using Mvccpb;

namespace Orleans.Etcd;

/// <summary>One request that waits in a queue. Under the queue's lock, but for the task and its end.</summary>
internal sealed class LockWaiter(LockClaim claim, long createRevision)
{
    // Who waits goes on at once, on the thread that ends the wait: a hand-over has enough threads in it.
    private readonly TaskCompletionSource<KeyValue?> _end = new();

    public LockClaim Claim => claim;

    /// <summary>Its place in the queue.</summary>
    public long CreateRevision => createRevision;

    /// <summary>How many calls wait for it: two, while a caller that heard nothing has asked again.</summary>
    public int Calls { get; set; }

    /// <summary>Whether the call that made its place, the first of its wish, is the only one that waits here.</summary>
    public bool MayBeHandedOver { get; set; }

    /// <summary>Its key, once it has its turn although those before it, who have given it up, may still be there in etcd.</summary>
    public KeyValue? HandedOver { get; private set; }

    /// <summary>
    /// Its key as it was at a revision at which its turn had come, or as <see cref="HandedOver"/>; null where the key is gone: cancelled, removed by hand,
    /// or with its session.
    /// </summary>
    public Task<KeyValue?> Ended => _end.Task;

    /// <summary>
    /// Looks at the queue; answers whether that ends the wait, and how. A state that is older than its place says nothing
    /// about it.
    /// </summary>
    public bool Ends(RangeSnapshot snapshot, LockOrder order, out KeyValue? own)
    {
        own = OwnIn(snapshot);
        return snapshot.Revision >= createRevision && (own is null || order.IsGranted(claim, createRevision));
    }

    /// <summary>Gives it its turn, where nobody but its own call can speak for it.</summary>
    public bool TryHandOver(RangeSnapshot snapshot)
    {
        // A mark says that another call has left it.
        if (!MayBeHandedOver || OwnIn(snapshot) is not { Version: 1 } own)
            return false;
        HandedOver = own;
        return true;
    }

    /// <summary>Its key, if it is there.</summary>
    public KeyValue? OwnIn(RangeSnapshot snapshot) =>
        snapshot.Values.TryGetValue(claim.Key, out var own) && own.CreateRevision == createRevision ? own : null;

    /// <summary>Not under the lock: whoever waits goes on from here.</summary>
    public void End(KeyValue? own) => _end.TrySetResult(own);
}
