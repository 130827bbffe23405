using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A store that Orleans keeps its membership in, on a server of our own.</summary>
/// <param name="name">As it appears in the report.</param>
/// <param name="provider">Orleans' provider for it, as a silo gets it.</param>
/// <param name="rewrite">Writes every row of a cluster again, past the provider.</param>
/// <param name="owned">What ends with it, in this order.</param>
internal sealed class PeerStore(string name, Action<ISiloBuilder> provider, Func<string, Task> rewrite, params IAsyncDisposable[] owned) : IAsyncDisposable
{
    public string Name => name;

    /// <summary>The table of one cluster, made if it is not there.</summary>
    public async Task<PeerTable> OpenAsync(string clusterId, CancellationToken cancellationToken)
    {
        // Built and never started: only the table is of interest.
        var host = new HostBuilder()
            .ConfigureLogging(logging => logging.ClearProviders())
            .UseOrleans(silo => provider(silo.Configure<ClusterOptions>(cluster => (cluster.ServiceId, cluster.ClusterId) = ("benchmark", clusterId))))
            .Build();
        var table = new PeerTable(name, host, () => rewrite(clusterId));
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
internal sealed class PeerTable(string name, IHost host, Func<Task> rewrite) : IAsyncDisposable
{
    private int _rows;

    public string Name => name;

    public IMembershipTable Table { get; } = host.Services.GetRequiredService<IMembershipTable>();

    /// <summary>Adds rows until there are so many.</summary>
    public async Task FillAsync(int rows, CancellationToken cancellationToken)
    {
        for (; _rows < rows; _rows++)
        {
            var entry = Silos.Entry(_rows);
            Check("insert", await InsertAsync(entry, await TokensAsync(entry, cancellationToken)));
        }
    }

    public Contender ReadAll(int rows) => new(name, async () =>
    {
        if ((await Table.ReadAllAsync(CancellationToken.None)).Members.Count != rows)
            throw new InvalidOperationException($"{name} did not answer all {rows} rows.");
    });

    /// <summary>Writes every row again, past the provider.</summary>
    public Task RewriteAsync() => rewrite();

    /// <summary>What a write of the row has to carry now.</summary>
    public async Task<(TableVersion Next, string? ETag)> TokensAsync(MembershipEntry entry, CancellationToken cancellationToken)
    {
        var row = await Table.ReadRowAsync(entry.SiloAddress, cancellationToken);
        return (row.Version.Next(), row.Members.SingleOrDefault()?.Item2);
    }

    public Task<bool> InsertAsync(MembershipEntry entry, (TableVersion Next, string? ETag) tokens) => Table.InsertRowAsync(entry, tokens.Next, CancellationToken.None);

    public Task<bool> UpdateAsync(MembershipEntry entry, (TableVersion Next, string? ETag) tokens) => Table.UpdateRowAsync(entry, tokens.ETag!, tokens.Next, CancellationToken.None);

    public void Check(string what, bool written)
    {
        if (!written)
            throw new InvalidOperationException($"{name} refused the {what}: its tokens should have been the latest.");
    }

    public async ValueTask DisposeAsync() => await ((IAsyncDisposable)host).DisposeAsync();
}
