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
    // Two states of each row, encoded once: what is written between the reads should leave no garbage for them to collect.
    private (ByteString Key, ByteString[] Values)[]? _states;
    private int _rows;
    private int _version;
    // Of the first and the last row, as they were written last.
    private readonly Dictionary<SiloAddress, string> _etags = [];
    private int _writes;

    public ClusterOptions Cluster { get; } = new() { ServiceId = "benchmark", ClusterId = clusterId };

    public MembershipLayout Layout { get; } = new(etcd.Options.KeyPrefix, new ClusterOptions { ServiceId = "benchmark", ClusterId = clusterId });

    /// <summary>The transaction that our table reads all rows with, when it knows none of them.</summary>
    public TxnRequest ReadAllRequest => new()
    {
        Compare = { Txn.ModRevisionIs(Layout.VersionKey, -1) },
        Failure = { Txn.Get(Layout.Range), Txn.Get(Layout.AliveRange) },
    };

    /// <param name="heartbeatAge">How old the heartbeats of a read may be; Orleans' default, or zero to read them each time.</param>
    public EtcdMembershipTable Open(TimeSpan? heartbeatAge = null)
    {
        var membership = new ClusterMembershipOptions();
        membership.IAmAliveTablePublishTimeout = heartbeatAge ?? membership.IAmAliveTablePublishTimeout;
        return new(etcd, Options.Create(Cluster), Options.Create(membership), NullLogger<EtcdMembershipTable>.Instance);
    }

    /// <summary>As a silo has it, with a watch.</summary>
    public async Task<EtcdMembershipTable> OpenWatchedAsync(CancellationToken cancellationToken, TimeSpan? heartbeatAge = null)
    {
        var table = Open(heartbeatAge);
        await table.InitializeMembershipTableAsync(true, cancellationToken);
        return table;
    }

    public EtcdGatewayListProvider OpenGateways() =>
        new(etcd, Options.Create(Cluster), Options.Create(new GatewayOptions()), NullLogger<EtcdGatewayListProvider>.Instance);

    /// <summary>Makes a table of so many silos, each of which has sent a heartbeat.</summary>
    public async Task FillAsync(int rows, CancellationToken cancellationToken)
    {
        _rows = rows;
        await RewriteAsync(Encode(rows), cancellationToken);
        foreach (var chunk in Enumerable.Range(0, rows).Chunk(WritesPerTransaction))
        {
            var request = new TxnRequest();
            request.Success.Add(chunk.Select(number => Silos.Entry(number)).Select(entry => Txn.Put(Layout.AliveKey(entry.SiloAddress), MembershipCodec.Encode(entry.IAmAliveTime))));
            await bare.KV.TxnAsync(request, cancellationToken: cancellationToken);
        }
    }

    /// <summary>Changes every row, as so many writers would: the version rises with them.</summary>
    public Task RewriteAsync(CancellationToken cancellationToken) => RewriteAsync(_states ??= Encode(_rows), cancellationToken);

    /// <summary>Changes one row, and the version with it.</summary>
    public Task RewriteOneAsync(CancellationToken cancellationToken) => RewriteAsync(Encode(1), cancellationToken);

    /// <summary>That a read has what was written last: the version, and the first and the last row of it.</summary>
    public void RequireLast(MembershipTableData read)
    {
        var rows = read.Members.Where(row => _etags.ContainsKey(row.Item1.SiloAddress)).ToArray();
        Require.That(
            read.Members.Count == _rows && read.Version.Version == _version && rows.Length == _etags.Count && rows.All(row => row.Item2 == _etags[row.Item1.SiloAddress]),
            $"read all of {clusterId} as it was written last");
    }

    private (ByteString Key, ByteString[] Values)[] Encode(int rows) =>
    [
        .. Enumerable.Range(0, rows).Select(number =>
            (Layout.RowKey(Silos.Entry(number).SiloAddress), Enumerable.Range(0, 2).Select(state => MembershipCodec.Encode(Silos.Entry(number, state), Guid.NewGuid().ToString("N"))).ToArray())),
    ];

    private async Task RewriteAsync((ByteString Key, ByteString[] Values)[] rows, CancellationToken cancellationToken)
    {
        var state = ++_writes % 2;
        var (first, last) = (0L, 0L);
        foreach (var chunk in rows.Chunk(WritesPerTransaction))
        {
            var request = new TxnRequest { Success = { Txn.Put(Layout.VersionKey, MembershipCodec.Encode(++_version, Guid.NewGuid().ToString("N"))) } };
            request.Success.Add(chunk.Select(row => Txn.Put(row.Key, row.Values[state])));
            last = (await bare.KV.TxnAsync(request, cancellationToken: cancellationToken)).Header.Revision;
            first = first == 0 ? last : first;
        }

        _etags[Silos.Entry(0).SiloAddress] = MembershipImage.ETag(first);
        _etags[Silos.Entry(rows.Length - 1).SiloAddress] = MembershipImage.ETag(last);
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
        // The write that they are for raises it, and is none of this.
        _version = number + 1;
        _etags.Remove(silo);
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
