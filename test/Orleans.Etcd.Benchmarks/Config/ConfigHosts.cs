using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Configuration;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Two silos and a client, with configuration and default options, all in this process and each with its own connection.</summary>
internal sealed class ConfigHosts : IAsyncDisposable
{
    private readonly IHost[] _silos;
    private readonly IHost _client;

    private ConfigHosts(Uri etcd)
    {
        Id = $"config-{Guid.NewGuid():N}";
        _silos = [.. Enumerable.Range(0, 2).Select(_ => BenchmarkHost.Silo(Id, silo => silo.UseEtcdClustering(etcd.ToString()).AddEtcdConfig()))];
        _client = BenchmarkHost.Client(Id, client => client.UseEtcdClustering(etcd.ToString()));
    }

    /// <summary>The service's and the cluster's.</summary>
    private string Id { get; }

    public IClusterClient Client => _client.Services.GetRequiredService<IClusterClient>();

    public static async Task<ConfigHosts> StartAsync(Uri etcd, CancellationToken cancellationToken)
    {
        var hosts = new ConfigHosts(etcd);
        try
        {
            foreach (var silo in hosts._silos)
                await silo.StartAsync(cancellationToken);
            await hosts._client.StartAsync(cancellationToken);
            return hosts;
        }
        catch
        {
            await hosts.DisposeAsync();
            throw;
        }
    }

    /// <summary>The key under which a namespace has a value.</summary>
    public string KeyOf(string name, string key) =>
        new ConfigLayout(EtcdKeys.Config(EtcdOptions.DefaultKeyPrefix, Id), EtcdKeys.ConfigHistory(EtcdOptions.DefaultKeyPrefix, Id), name).Prefix + key;

    /// <summary>The services of the silo that serves the namespace, and those of the other.</summary>
    public async Task<(IServiceProvider Serving, IServiceProvider Other)> SilosAsync(string name)
    {
        var config = Client.GetGrain<IConfigGrain>(name);
        await config.GetAll();
        var serving = await Client.GetGrain<IManagementGrain>(0).GetActivationAddress(config);
        var first = _silos[0].Services;
        return first.GetRequiredService<ILocalSiloDetails>().SiloAddress.Equals(serving) ? (first, _silos[1].Services) : (_silos[1].Services, first);
    }

    /// <summary>A call of a grain on that silo that does nothing.</summary>
    public static async Task<Func<Task>> EmptyOnAsync(SiloAddress silo, IGrainFactory from)
    {
        for (var key = 0; ; key++)
        {
            var empty = from.GetGrain<IEmptyGrain>(key);
            if ((await empty.Here()).Equals(silo))
                return empty.Nothing;
        }
    }

    public async ValueTask DisposeAsync()
    {
        await ((IAsyncDisposable)_client).DisposeAsync();
        foreach (var silo in _silos)
            await ((IAsyncDisposable)silo).DisposeAsync();
    }
}
