using Orleans.Messaging;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Notes what a client's provider answers each time the client asks.</summary>
internal sealed class GatewayLists(IGatewayListProvider provider) : IGatewayListProvider, IAsyncDisposable
{
    private readonly object _lock = new();
    private readonly List<(DateTimeOffset At, IList<Uri> Gateways)> _answers = [];

    public TimeSpan MaxStaleness => provider.MaxStaleness;

    [Obsolete("Orleans no longer asks.")]
    public bool IsUpdatable => provider.IsUpdatable;

    public Task InitializeGatewayListProvider() => provider.InitializeGatewayListProvider();

    public async Task<IList<Uri>> GetGateways()
    {
        var gateways = await provider.GetGateways();
        lock (_lock)
            _answers.Add((DateTimeOffset.UtcNow, [.. gateways]));
        return gateways;
    }

    /// <summary>When the client was first told after a moment that a gateway is there, or is not; null if it was not yet.</summary>
    public DateTimeOffset? FirstSince(DateTimeOffset since, int gatewayPort, bool present)
    {
        lock (_lock)
            return _answers.Where(answer => answer.At >= since && answer.Gateways.Any(gateway => gateway.Port == gatewayPort) == present).Select(answer => (DateTimeOffset?)answer.At).FirstOrDefault();
    }

    public ValueTask DisposeAsync() => ((IAsyncDisposable)provider).DisposeAsync();
}
