using Microsoft.Extensions.DependencyInjection;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>What one notification of a namespace said.</summary>
[GenerateSerializer]
public sealed record ConfigStep([property: Id(0)] long Previous, [property: Id(1)] long Revision, [property: Id(2)] bool IsSnapshot, [property: Id(3)] Dictionary<string, string?> Changes)
{
    /// <summary>When, in microseconds of the machine's monotonic clock.</summary>
    [Id(4)]
    public long At { get; init; }

    public static ConfigStep Of(ConfigNotification told) => new(
        told.PreviousRevision,
        told.Revision,
        told.Snapshot is not null,
        told.Snapshot is { } snapshot
            ? snapshot.ToDictionary(pair => pair.Key, pair => (string?)pair.Value.Text)
            : told.Changes.ToDictionary(change => change.Key, change => change.New?.Text))
    {
        At = LockWork.Now,
    };
}

/// <summary>Listens to a namespace in a silo, as a grain and as a service of the silo that has a view injected.</summary>
public interface IConfigListener : IGrainWithIntegerKey
{
    Task Listen(string name);

    /// <summary>What the grain and the service were told; null where this activation has not listened.</summary>
    Task<(ConfigStep[] Grain, ConfigStep[] Service)?> Told();

    Task Stop();
}

[RandomPlacement]
public sealed class ConfigListener(IServiceProvider services) : Grain, IConfigListener
{
    private readonly List<ConfigStep> _grain = [];
    private readonly List<ConfigStep> _service = [];
    private readonly List<IAsyncDisposable> _subscriptions = [];

    public async Task Listen(string name)
    {
        if (_subscriptions.Count > 0)
            return;
        _subscriptions.Add(await GrainFactory.GetGrain<IConfigGrain>(name).SubscribeAsync(told =>
        {
            _grain.Add(ConfigStep.Of(told));
            return Task.CompletedTask;
        }));
        var view = services.GetRequiredKeyedService<IConfigView>(name);
        // On the pool, where services are.
        _subscriptions.Add(await Task.Run(() => view.SubscribeAsync(told =>
        {
            lock (_service)
                _service.Add(ConfigStep.Of(told));
            return Task.CompletedTask;
        })));
    }

    public Task<(ConfigStep[] Grain, ConfigStep[] Service)?> Told()
    {
        lock (_service)
            return Task.FromResult<(ConfigStep[], ConfigStep[])?>(_subscriptions.Count == 0 ? null : ([.. _grain], [.. _service]));
    }

    public async Task Stop()
    {
        foreach (var subscription in _subscriptions)
            await subscription.DisposeAsync();
        _subscriptions.Clear();
        DeactivateOnIdle();
    }

    public override Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken) => Stop();
}
