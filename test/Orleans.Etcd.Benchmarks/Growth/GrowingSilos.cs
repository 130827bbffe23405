using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Rows of one cluster's membership table, as one of its silos and one of its clients have it.</summary>
internal sealed class GrowingSilos : IGrowing
{
    private readonly EtcdConnection _etcd;
    private readonly EtcdTable _rows;
    private readonly EtcdMembershipTable _table;
    private readonly EtcdGatewayListProvider _gateways;
    private MembershipTableData? _read;

    private GrowingSilos(EtcdServer server, BareEtcd bare)
    {
        _etcd = BenchmarkEtcd.Connect(server);
        _rows = new EtcdTable(bare, _etcd, "growing");
        _table = _rows.Open();
        _gateways = _rows.OpenGateways();
    }

    public IReadOnlyList<Contender> Operations =>
    [
        new("heartbeat", () => _table.UpdateIAmAliveAsync(Silos.Entry(0), CancellationToken.None)),
        Update(),
        new("ReadAll, unchanged", ReadAllAsync) { Conclude = RequireLast },
        new("ReadAll, one row changed", ReadAllAsync) { Prepare = ChangeAsync, Conclude = RequireLast },
        new("ReadAll of a silo that joins", ReadAnewAsync) { Conclude = RequireLast },
        new("GetGateways", () => _gateways.GetGatewaysAsync()),
    ];

    public static Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken) => Task.FromResult<IGrowing>(new GrowingSilos(server, bare));

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        await _rows.FillAsync(count, cancellationToken);
        await _table.InitializeMembershipTableAsync(true, cancellationToken);
        await ReadAllAsync();
        await _gateways.GetGatewaysAsync(cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        await _gateways.DisposeAsync();
        await _table.DisposeAsync();
        await _etcd.DisposeAsync();
    }

    private Contender Update()
    {
        EtcdTable.Tokens tokens = null!;
        return new Contender("update", async () => Require.That(await _table.UpdateRowAsync(Silos.Entry(0), MembershipImage.ETag(tokens.Row), tokens.Next, CancellationToken.None), "update"))
        {
            Prepare = async () => tokens = await _rows.TokensAsync(Silos.Entry(0).SiloAddress, CancellationToken.None),
        };
    }

    private Task ReadAllAsync() => ReadAllAsync(_table);

    private async Task ReadAnewAsync()
    {
        await using var table = _rows.Open();
        await ReadAllAsync(table);
    }

    private async Task ReadAllAsync(EtcdMembershipTable table) => _read = await table.ReadAllAsync(CancellationToken.None);

    private Task RequireLast()
    {
        _rows.RequireLast(_read!);
        return Task.CompletedTask;
    }

    private Task ChangeAsync() => _rows.RewriteOneAsync(CancellationToken.None);
}
