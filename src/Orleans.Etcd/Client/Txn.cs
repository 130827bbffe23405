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

    public static RequestOp Put(ByteString key, ByteString value) => new() { RequestPut = new PutRequest { Key = key, Value = value } };

    public static RequestOp Delete(ByteString key) => new() { RequestDeleteRange = new DeleteRangeRequest { Key = key } };

    public static RequestOp Delete(RangeRequest range) => new() { RequestDeleteRange = new DeleteRangeRequest { Key = range.Key, RangeEnd = range.RangeEnd } };

    public static RequestOp Get(ByteString key) => new() { RequestRange = new RangeRequest { Key = key } };

    public static RequestOp Get(RangeRequest range) => new() { RequestRange = range };
}
