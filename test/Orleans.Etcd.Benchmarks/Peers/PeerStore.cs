using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Messaging;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A store that Orleans keeps its membership in, on a server of our own.</summary>
/// <param name="name">As it appears in the report.</param>
/// <param name="owned">What ends with it, in this order.</param>
internal sealed class PeerStore(string name, params IAsyncDisposable[] owned) : IAsyncDisposable
{
    public string Name => name;

    /// <summary>Orleans' provider for it, as a silo gets it.</summary>
    public required Action<ISiloBuilder> UseInSilo { get; init; }

    /// <summary>The same for a client.</summary>
    public required Action<IClientBuilder> UseInClient { get; init; }

    /// <summary>Writes every row of a cluster again, past the provider.</summary>
    public required Func<string, Task> RewriteAsync { get; init; }

    /// <summary>What an administrator would have done after many rows were written.</summary>
    public Func<Task> SettleAsync { get; init; } = static () => Task.CompletedTask;

    /// <summary>The table of one cluster, made if it is not there.</summary>
    public async Task<PeerTable> OpenAsync(string clusterId, CancellationToken cancellationToken)
    {
        var table = new PeerTable(this, clusterId);
        try
        {
            await table.Table.InitializeMembershipTableAsync(true, cancellationToken);
            return table;
        }
        catch
        {
            await table.DisposeAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var each in owned)
            await each.DisposeAsync();
    }
}

/// <summary>A membership table as Orleans' own provider has it.</summary>
internal sealed class PeerTable : IAsyncDisposable
{
    private readonly PeerStore _store;
    private readonly string _clusterId;
    // Both are built and never started: only what they keep of membership is of interest.
    private readonly IHost _silo;
    private readonly Lazy<IHost> _client;
    private int _rows;

    public PeerTable(PeerStore store, string clusterId)
    {
        (_store, _clusterId) = (store, clusterId);
        _silo = BenchmarkHost.Silo(clusterId, store.UseInSilo);
        _client = new(() => BenchmarkHost.Client(clusterId, store.UseInClient));
        Table = _silo.Services.GetRequiredService<IMembershipTable>();
    }

    public string Name => _store.Name;

    public IMembershipTable Table { get; }

    /// <summary>Adds rows until there are so many.</summary>
    public async Task FillAsync(int rows, CancellationToken cancellationToken)
    {
        for (; _rows < rows; _rows++)
        {
            var entry = Silos.Entry(_rows);
            Require.That(await InsertAsync(entry, await TokensAsync(entry, cancellationToken)), $"insert into {Name}");
        }

        await _store.SettleAsync();
    }

    public Contender ReadAll(int rows) => new(Name, async () =>
    {
        if ((await Table.ReadAllAsync(CancellationToken.None)).Members.Count != rows)
            throw new InvalidOperationException($"{Name} did not answer all {rows} rows.");
    });

    /// <summary>The list as a client of the cluster asks for it.</summary>
    public async Task<Contender> GatewaysAsync(int gateways)
    {
        var list = _client.Value.Services.GetRequiredService<IGatewayListProvider>();
        await list.InitializeGatewayListProvider();
        return new Contender(Name, async () =>
        {
            if ((await list.GetGateways()).Count != gateways)
                throw new InvalidOperationException($"{Name} did not answer all {gateways} gateways.");
        });
    }

    /// <summary>Writes every row again, past the provider.</summary>
    public Task RewriteAsync() => _store.RewriteAsync(_clusterId);

    /// <summary>What a write of the row has to carry now.</summary>
    public async Task<(TableVersion Next, string? ETag)> TokensAsync(MembershipEntry entry, CancellationToken cancellationToken)
    {
        var row = await Table.ReadRowAsync(entry.SiloAddress, cancellationToken);
        return (row.Version.Next(), row.Members.SingleOrDefault()?.Item2);
    }

    public Task<bool> InsertAsync(MembershipEntry entry, (TableVersion Next, string? ETag) tokens) => Table.InsertRowAsync(entry, tokens.Next, CancellationToken.None);

    public Task<bool> UpdateAsync(MembershipEntry entry, (TableVersion Next, string? ETag) tokens) => Table.UpdateRowAsync(entry, tokens.ETag!, tokens.Next, CancellationToken.None);

    public async ValueTask DisposeAsync()
    {
        await ((IAsyncDisposable)_silo).DisposeAsync();
        if (_client.IsValueCreated)
            await ((IAsyncDisposable)_client.Value).DisposeAsync();
    }
}
