using Mvccpb;

namespace Orleans.Etcd;

/// <summary>One request that waits in a queue. Under the queue's lock, but for the task.</summary>
internal sealed class LockWaiter(LockClaim claim, long createRevision)
{
    private readonly TaskCompletionSource<KeyValue?> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public LockClaim Claim => claim;

    /// <summary>Its place in the queue.</summary>
    public long CreateRevision => createRevision;

    /// <summary>How many calls wait for it: two, while a caller that heard nothing has asked again.</summary>
    public int Calls { get; set; }

    /// <summary>
    /// Its key as it was at a revision at which its turn had come; null where the key is gone: cancelled, removed by hand,
    /// or with its session.
    /// </summary>
    public Task<KeyValue?> Ended => _end.Task;

    /// <summary>Looks at the queue. A state that is older than its place says nothing about it.</summary>
    public void Look(RangeSnapshot snapshot, LockOrder order)
    {
        if (snapshot.Revision < createRevision)
            return;
        if (OwnIn(snapshot) is not { } own)
            End();
        else if (order.IsGranted(claim, createRevision))
            Grant(own);
    }

    /// <summary>Its key, if it is there.</summary>
    public KeyValue? OwnIn(RangeSnapshot snapshot) =>
        snapshot.Values.TryGetValue(claim.Key, out var own) && own.CreateRevision == createRevision ? own : null;

    public void Grant(KeyValue own) => _end.TrySetResult(own);

    public void End() => _end.TrySetResult(null);
}
