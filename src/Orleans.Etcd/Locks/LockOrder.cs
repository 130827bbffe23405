using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>The queue of one lock at one revision: who was before whom.</summary>
internal sealed class LockOrder
{
    private readonly long[] _all;
    private readonly long[] _writers;

    /// <param name="layout">The lock's keys.</param>
    /// <param name="snapshot">The queue.</param>
    /// <param name="isDeleted">What is known to be gone since, or to go next.</param>
    public LockOrder(LockLayout layout, RangeSnapshot snapshot, Func<ByteString, bool> isDeleted)
    {
        var here = snapshot.Values.Where(pair => !isDeleted(pair.Key)).ToArray();
        _all = [.. here.Select(pair => pair.Value.CreateRevision)];
        _writers = layout.HasReaders ? [.. here.Where(pair => layout.IsWrite(pair.Key)).Select(pair => pair.Value.CreateRevision)] : _all;
        Array.Sort(_all);
        Array.Sort(_writers);
    }

    public bool IsGranted(LockClaim claim, long createRevision) => Before(claim.IsRead ? _writers : _all, createRevision) < claim.Allowed;

    /// <summary>How many of the revisions, each of which is one key's, are lower.</summary>
    private static int Before(long[] revisions, long createRevision)
    {
        var found = Array.BinarySearch(revisions, createRevision);
        return found < 0 ? ~found : found;
    }
}
