using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Subscribes to a namespace from within a grain, and says what it and the silo that it is on have been told.</summary>
public interface IConfigUser : IGrainWithIntegerKey
{
    Task Subscribe(string name);

    /// <summary>What the grain was told; null where it has not subscribed, being a new activation.</summary>
    Task<ConfigTold?> Told();

    /// <summary>What a service of its silo was told.</summary>
    Task<ConfigTold?> ToldInSilo();

    /// <summary>What the view of its silo shows once it shows a revision.</summary>
    Task<string?> Read(string name, string key, long minRevision);

    Task<SiloAddress> Here();
}

[GenerateSerializer]
public sealed record ConfigTold([property: Id(0)] long Revision, [property: Id(1)] Dictionary<string, string> Values, [property: Id(2)] string[] Faults, [property: Id(3)] int Snapshots, [property: Id(4)] int Deltas)
{
    public static ConfigTold Of(ConfigReplay replay) => new(replay.Revision, replay.Values, [.. replay.Faults], replay.Snapshots, replay.Deltas);
}

[RandomPlacement]
public sealed class ConfigUser(ILocalSiloDetails silo, IServiceProvider services) : Grain, IConfigUser
{
    private readonly ConfigReplay _replay = new();
    private readonly List<string> _elsewhere = [];
    private IAsyncDisposable? _subscription;

    public async Task Subscribe(string name)
    {
        if (_subscription is not null)
            return;
        var own = TaskScheduler.Current;
        _subscription = await GrainFactory.GetGrain<IConfigGrain>(name).SubscribeAsync(async notification =>
        {
            if (TaskScheduler.Current != own)
                _elsewhere.Add("it was told on another scheduler");
            _replay.On(notification);
            await Task.Yield();
            if (TaskScheduler.Current != own)
                _elsewhere.Add("it was left on another scheduler");
        });
    }

    public Task<ConfigTold?> Told()
    {
        var told = ConfigTold.Of(_replay);
        return Task.FromResult(_subscription is null ? null : told with { Faults = [.. told.Faults, .. _elsewhere] });
    }

    public Task<ConfigTold?> ToldInSilo() => Task.FromResult(services.GetService<ConfigWatcher>() is { } watcher ? ConfigTold.Of(watcher.Replay) : null);

    public async Task<string?> Read(string name, string key, long minRevision)
    {
        var view = services.GetRequiredKeyedService<IConfigView>(name);
        await view.ReadyAsync(minRevision);
        return view.Get(key)?.Text;
    }

    public Task<SiloAddress> Here() => Task.FromResult(silo.SiloAddress);

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_subscription is not null)
            await _subscription.DisposeAsync();
    }
}

/// <summary>A service of a silo that is told of a namespace by the view that is injected.</summary>
public sealed class ConfigWatcher([FromKeyedServices(ConfigWatcher.Name)] IConfigView view) : BackgroundService
{
    public const string Name = "faults";

    public ConfigReplay Replay { get; } = new();

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        await using var subscription = await view.SubscribeAsync(Replay.OnAsync, cancellationToken: stoppingToken);
        await Task.Delay(Timeout.Infinite, stoppingToken);
    }
}
