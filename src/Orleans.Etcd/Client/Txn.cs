using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>The pieces of a transaction, in fewer words than the generated types need.</summary>
internal static class Txn
{
    public static Compare ModRevisionIs(ByteString key, long modRevision) => new()
    {
        Key = key,
        Target = Compare.Types.CompareTarget.Mod,
        Result = Compare.Types.CompareResult.Equal,
        ModRevision = modRevision,
    };

    /// <summary>That a key was created by this revision; 0: that it does not exist.</summary>
    public static Compare CreateRevisionIs(ByteString key, long createRevision) => new()
    {
        Key = key,
        Target = Compare.Types.CompareTarget.Create,
        Result = Compare.Types.CompareResult.Equal,
        CreateRevision = createRevision,
    };

    /// <summary>That no key of a range was created after this revision; 0: that none exists.</summary>
    public static Compare NoneCreatedAfter(RangeRequest range, long revision) => new()
    {
        Key = range.Key,
        RangeEnd = range.RangeEnd,
        Target = Compare.Types.CompareTarget.Create,
        Result = Compare.Types.CompareResult.Less,
        CreateRevision = revision + 1,
    };

    /// <summary>That no key of a range was written after this revision. Of what was deleted since it says nothing.</summary>
    public static Compare NoneModifiedAfter(RangeRequest range, long revision) => new()
    {
        Key = range.Key,
        RangeEnd = range.RangeEnd,
        Target = Compare.Types.CompareTarget.Mod,
        Result = Compare.Types.CompareResult.Less,
        ModRevision = revision + 1,
    };

    /// <summary>That a key hangs on a lease.</summary>
    public static Compare LeaseIs(ByteString key, long lease) => new()
    {
        Key = key,
        Target = Compare.Types.CompareTarget.Lease,
        Result = Compare.Types.CompareResult.Equal,
        Lease = lease,
    };

    /// <summary>That a key exists and its value sorts before another.</summary>
    public static Compare ValueIsLess(ByteString key, ByteString value) => new()
    {
        Key = key,
        Target = Compare.Types.CompareTarget.Value,
        Result = Compare.Types.CompareResult.Less,
        Value = value,
    };

    public static RequestOp Put(ByteString key, ByteString value, long lease = 0) => new() { RequestPut = new PutRequest { Key = key, Value = value, Lease = lease } };

    public static RequestOp Delete(ByteString key) => new() { RequestDeleteRange = new DeleteRangeRequest { Key = key } };

    public static RequestOp Delete(RangeRequest range) => new() { RequestDeleteRange = new DeleteRangeRequest { Key = range.Key, RangeEnd = range.RangeEnd } };

    /// <summary>The answer to a transaction in a transaction; with the header, which etcd leaves out.</summary>
    public static TxnResponse Nested(TxnResponse response, int index)
    {
        var answer = response.Responses[index].ResponseTxn;
        answer.Header = response.Header;
        return answer;
    }

    public static RequestOp Get(ByteString key) => new() { RequestRange = new RangeRequest { Key = key } };

    public static RequestOp Get(RangeRequest range) => new() { RequestRange = range };

    public static RangeRequest Range(string prefix) => new() { Key = ByteString.CopyFromUtf8(prefix), RangeEnd = EtcdKeys.RangeEnd(prefix) };

    /// <summary>The keys of a range that were created last before a revision.</summary>
    public static RangeRequest LastBefore(this RangeRequest range, long revision, long limit) => new()
    {
        Key = range.Key,
        RangeEnd = range.RangeEnd,
        Limit = limit,
        MaxCreateRevision = revision - 1,
        SortTarget = RangeRequest.Types.SortTarget.Create,
        SortOrder = RangeRequest.Types.SortOrder.Descend,
    };

    /// <summary>The keys of a range that were created first.</summary>
    public static RangeRequest First(this RangeRequest range, long limit) => new()
    {
        Key = range.Key,
        RangeEnd = range.RangeEnd,
        Limit = limit,
        SortTarget = RangeRequest.Types.SortTarget.Create,
        SortOrder = RangeRequest.Types.SortOrder.Ascend,
    };
}
