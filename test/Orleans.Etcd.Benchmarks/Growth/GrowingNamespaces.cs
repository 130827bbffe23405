using System.Globalization;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Namespaces of config with one key each, all of them active, in two silos of this process.</summary>
internal sealed class GrowingNamespaces(ConfigHosts hosts, BareEtcd bare) : IGrowing
{
    private const int AtOnce = 100;
    private const string OneMore = "one-more";

    private Told? _told;
    private long _writes;

    public IReadOnlyList<Contender> Operations =>
    [
        new("Get by a client", async () => await Config(OneMore).Get("a")),
        new("put until an observer in a client is told", PutAsync),
    ];

    public static async Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken)
    {
        var growing = new GrowingNamespaces(await ConfigHosts.StartAsync(server.Endpoint, cancellationToken), bare);
        growing._told = await Told.SubscribeAsync(OneMore, growing.Config(OneMore));
        await growing.PutAsync();
        return growing;
    }

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        foreach (var numbers in Enumerable.Range(0, count).Chunk(AtOnce))
        {
            cancellationToken.ThrowIfCancellationRequested();
            await Task.WhenAll(numbers.Select(MakeAsync));
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_told is not null)
            await _told.DisposeAsync();
        await hosts.DisposeAsync();
    }

    private async Task MakeAsync(int number)
    {
        var name = $"many-{number}";
        await WriteAsync(name, "1");
        if (await Config(name).Get("a") is null)
            throw new InvalidOperationException($"{name} does not show what is in etcd.");
    }

    private async Task PutAsync()
    {
        var told = _told!.Awaited.Is(++_writes);
        await WriteAsync(OneMore, _writes.ToString(CultureInfo.InvariantCulture));
        await told.WaitAsync(TimeSpan.FromSeconds(30));
    }

    private Task WriteAsync(string name, string value) => bare.PutAsync(hosts.KeyOf(name, "a"), value);

    private IConfigGrain Config(string name) => hosts.Client.GetGrain<IConfigGrain>(name);
}
