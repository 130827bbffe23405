using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd.Benchmarks;

/// <summary>One cluster's table in etcd, with what the measurements do to it past the library.</summary>
internal sealed class EtcdTable(BareEtcd bare, EtcdConnection etcd, string clusterId)
{
    // etcd allows 128 operations in a transaction; the version is one of them.
    private const int WritesPerTransaction = 120;
    private int _version;
    private int _rows;
    private int _writes;

    public ClusterOptions Cluster { get; } = new() { ServiceId = "benchmark", ClusterId = clusterId };

    public MembershipLayout Layout { get; } = new(etcd.Options.KeyPrefix, new ClusterOptions { ServiceId = "benchmark", ClusterId = clusterId });

    /// <summary>The transaction that our table reads all rows with, when it knows none of them.</summary>
    public TxnRequest ReadAllRequest => new()
    {
        Compare = { Txn.ModRevisionIs(Layout.VersionKey, -1) },
        Failure = { Txn.Get(Layout.Range), Txn.Get(Layout.AliveRange) },
    };

    public EtcdMembershipTable Open() =>
        new(etcd, Options.Create(Cluster), Options.Create(new ClusterMembershipOptions()), NullLogger<EtcdMembershipTable>.Instance);

    /// <summary>Makes a table of so many silos, each of which has sent a heartbeat.</summary>
    public async Task FillAsync(int rows, CancellationToken cancellationToken)
    {
        _rows = rows;
        await RewriteAsync(cancellationToken);
        foreach (var chunk in Enumerable.Range(0, rows).Chunk(WritesPerTransaction))
        {
            var request = new TxnRequest();
            request.Success.Add(chunk.Select(Silos.Entry).Select(entry => Txn.Put(Layout.AliveKey(entry.SiloAddress), MembershipCodec.Encode(entry.IAmAliveTime))));
            await bare.KV.TxnAsync(request, cancellationToken: cancellationToken);
        }
    }

    /// <summary>Changes every row, as so many writers would: the version rises with them.</summary>
    public async Task RewriteAsync(CancellationToken cancellationToken)
    {
        _writes++;
        foreach (var chunk in Enumerable.Range(0, _rows).Chunk(WritesPerTransaction))
        {
            var writeId = Guid.NewGuid().ToString("N");
            var request = new TxnRequest { Success = { Txn.Put(Layout.VersionKey, MembershipCodec.Encode(++_version, writeId)) } };
            foreach (var number in chunk)
            {
                var entry = Silos.Entry(number, _writes);
                request.Success.Add(Txn.Put(Layout.RowKey(entry.SiloAddress), MembershipCodec.Encode(entry, writeId)));
            }

            await bare.KV.TxnAsync(request, cancellationToken: cancellationToken);
        }
    }

    /// <summary>What a write has to carry now: the version's number and token, and the row's token (0 where there is none).</summary>
    public async Task<Tokens> TokensAsync(SiloAddress silo, CancellationToken cancellationToken)
    {
        var read = await bare.KV.TxnAsync(
            new TxnRequest { Success = { Txn.Get(Layout.VersionKey), Txn.Get(Layout.RowKey(silo)) } },
            cancellationToken: cancellationToken);
        var version = read.Responses[0].ResponseRange.Kvs.Single();
        var row = read.Responses[1].ResponseRange.Kvs.SingleOrDefault();
        var number = MembershipCodec.TryDecodeVersion(version)!.Version;
        return new Tokens(new TableVersion(number + 1, MembershipImage.ETag(version.ModRevision)), version.ModRevision, row?.ModRevision ?? 0);
    }

    /// <summary>The transaction that our table writes a row with.</summary>
    public TxnRequest WriteRequest(MembershipEntry entry, Tokens tokens)
    {
        var row = Layout.RowKey(entry.SiloAddress);
        var writeId = Guid.NewGuid().ToString("N");
        ByteString version = MembershipCodec.Encode(tokens.Next.Version, writeId);
        return new TxnRequest
        {
            Compare = { Txn.ModRevisionIs(Layout.VersionKey, tokens.Version), Txn.ModRevisionIs(row, tokens.Row) },
            Success = { Txn.Put(Layout.VersionKey, version), Txn.Put(row, MembershipCodec.Encode(entry, writeId)) },
            Failure = { Txn.Get(Layout.VersionKey), Txn.Get(row) },
        };
    }

    internal sealed record Tokens(TableVersion Next, long Version, long Row);
}
