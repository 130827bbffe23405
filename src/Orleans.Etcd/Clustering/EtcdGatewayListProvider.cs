using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Messaging;

namespace Orleans.Etcd;

/// <summary>
/// The gateways of a cluster, from a watch on its membership table. A call costs no request; during an outage of etcd
/// the last known list stands.
/// </summary>
internal sealed partial class EtcdGatewayListProvider : IGatewayListProvider, IAsyncDisposable, IDisposable
{
    private readonly EtcdConnection _etcd;
    private readonly MembershipLayout _layout;
    private readonly object _lock = new();
    private readonly UnreadableValues _unreadable;
    private LiveView? _view;
    private bool _disposed;
    private (RangeSnapshot Snapshot, MembershipImage Image, Uri[] Gateways)? _known;

    public EtcdGatewayListProvider(EtcdConnection etcd, IOptions<ClusterOptions> cluster, IOptions<GatewayOptions> gateways, ILogger<EtcdGatewayListProvider> logger)
    {
        _etcd = etcd;
        _layout = new MembershipLayout(etcd.Options.KeyPrefix, cluster.Value);
        var guarded = logger.Guarded();
        _unreadable = new UnreadableValues(key => Log.Unreadable(guarded, key));
        MaxStaleness = gateways.Value.GatewayListRefreshPeriod;
    }

    public TimeSpan MaxStaleness { get; }

    public bool IsUpdatable => true;

    public Task InitializeGatewayListProvider() => InitializeGatewayListProviderAsync(CancellationToken.None);

    /// <summary>Starts the watch and waits for nothing, so that a client may be started before etcd.</summary>
    public Task InitializeGatewayListProviderAsync(CancellationToken cancellationToken = default)
    {
        View();
        return Task.CompletedTask;
    }

    public Task<IList<Uri>> GetGateways() => GetGatewaysAsync(CancellationToken.None);

    /// <summary>The gateways known now; only the first call may have to wait, for at most the request timeout.</summary>
    /// <exception cref="SiloUnavailableException">etcd has not been reached yet; the client's retry filter decides.</exception>
    /// <exception cref="EtcdException">etcd refuses this client; trying again does not help.</exception>
    /// <exception cref="ObjectDisposedException">The connection was disposed before it had reached etcd.</exception>
    public async Task<IList<Uri>> GetGatewaysAsync(CancellationToken cancellationToken = default)
    {
        var view = View();
        var snapshot = view.Snapshot ?? await FirstAsync(view, cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            if (_known is not { } known || known.Snapshot != snapshot)
            {
                var image = MembershipImage.Decode(_layout, snapshot, _known?.Image, _unreadable.Note);
                _known = (snapshot, image, [.. image.Rows.Select(row => row.Entry).Where(IsGateway).Select(ToGateway)]);
            }

            return [.. _known.Value.Gateways];
        }
    }

    public void Dispose() => TakeView()?.Stop();

    public async ValueTask DisposeAsync()
    {
        if (TakeView() is { } view)
            await view.DisposeAsync().ConfigureAwait(false);
    }

    // A port that is none would make every call fail, for all clients.
    private static bool IsGateway(MembershipEntry entry) => entry is { Status: SiloStatus.Active, ProxyPort: > 0 and <= IPEndPoint.MaxPort };

    private static Uri ToGateway(MembershipEntry entry) =>
        SiloAddress.New(entry.SiloAddress.Endpoint.Address, entry.ProxyPort, entry.SiloAddress.Generation).ToGatewayUri();

    private LiveView View()
    {
        lock (_lock)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            return _view ??= new LiveView(_etcd, _layout.Prefix);
        }
    }

    private LiveView? TakeView()
    {
        lock (_lock)
        {
            _disposed = true;
            var view = _view;
            _view = null;
            return view;
        }
    }

    private async Task<RangeSnapshot> FirstAsync(LiveView view, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_etcd.Options.RequestTimeout);
        try
        {
            return await view.FirstAsync(limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw new SiloUnavailableException(
                $"The gateway list could not be read from etcd at {_etcd.Description} within {_etcd.Options.RequestTimeout}. {view.LastError?.Message}", view.LastError!);
        }
    }
}
