namespace Orleans.Etcd;

/// <summary>How a wait ended.</summary>
internal enum WaitEnd
{
    /// <summary>Its turn has come.</summary>
    Granted,

    /// <summary>Its key is gone: cancelled, removed by hand, or with its session.</summary>
    Gone,
}

/// <summary>One request that waits in a queue. Under the queue's lock, but for the task.</summary>
internal sealed class LockWaiter(LockClaim claim, long createRevision, int? epoch)
{
    private readonly TaskCompletionSource<WaitEnd> _end = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public LockClaim Claim => claim;

    /// <summary>Its place in the queue.</summary>
    public long CreateRevision => createRevision;

    /// <summary>How many calls wait for it: two, while a caller that heard nothing has asked again.</summary>
    public int Calls { get; set; }

    public Task<WaitEnd> Ended => _end.Task;

    /// <summary>Looks at the queue. A state that is older than its place says nothing about it.</summary>
    public void Look(RangeSnapshot snapshot, LockOrder order)
    {
        if (epoch is not null && epoch != snapshot.Epoch)
            _end.TrySetResult(WaitEnd.Gone);
        else if (snapshot.Revision < createRevision)
            return;
        else if (!IsIn(snapshot))
            _end.TrySetResult(WaitEnd.Gone);
        else if (order.IsGranted(claim, createRevision))
            _end.TrySetResult(WaitEnd.Granted);
        epoch = snapshot.Epoch;
    }

    public bool IsIn(RangeSnapshot snapshot) => snapshot.Values.TryGetValue(claim.Key, out var own) && own.CreateRevision == createRevision;

    /// <summary>For who has seen by other means that its turn has come.</summary>
    public void Grant() => _end.TrySetResult(WaitEnd.Granted);

    public void End() => _end.TrySetResult(WaitEnd.Gone);
}
