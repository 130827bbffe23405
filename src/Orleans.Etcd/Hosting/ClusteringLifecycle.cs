using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// Starts push and liveness with a silo and ends them with it: both before it joins; the lease is given back last of all,
/// when the table says that the silo is dead.
/// </summary>
internal sealed class ClusteringLifecycle(IServiceProvider services) : ILifecycleParticipant<ISiloLifecycle>, IAsyncDisposable, IDisposable
{
    // Between the table being ready and the silo's row saying Joining.
    private const int AfterTable = ServiceLifecycleStage.RuntimeGrainServices + 50;

    // Stopping goes downwards, and the row says Dead just above it.
    private const int AfterDead = ServiceLifecycleStage.RuntimeInitialize - 1;

    private readonly CancellationTokenSource _stop = new();
    private volatile LivenessLease? _lease;
    private EtcdConnection? _etcd;
    private LiveView? _leases;
    private Task _loops = Task.CompletedTask;

    /// <summary>This silo's lease; null before it joins and after it has left.</summary>
    public LivenessLease? Lease => _lease;

    /// <summary>Whether the silo's lease, once it has one, is kept over this connection.</summary>
    public bool IsOver(EtcdConnection etcd) => _etcd == etcd;

    public void Participate(ISiloLifecycle lifecycle)
    {
        // Whoever configured another table after ours does not want ours.
        if (services.GetRequiredService<IMembershipTable>() is not EtcdMembershipTable table)
            return;
        lifecycle.Subscribe(nameof(ClusteringLifecycle), AfterTable, stop => StartAsync(table, stop), _ => StopWatchingAsync());
        lifecycle.Subscribe(nameof(ClusteringLifecycle), AfterDead, _ => Task.CompletedTask, _ => LeaveAsync());
    }

    /// <summary>Does not wait for etcd to have the lease back.</summary>
    public void Dispose() => _ = Detached.Run(() => DisposeAsync().AsTask());

    public async ValueTask DisposeAsync()
    {
        await StopWatchingAsync().ConfigureAwait(false);
        await LeaveAsync().ConfigureAwait(false);
    }

    private async Task StartAsync(EtcdMembershipTable table, CancellationToken stop)
    {
        var membership = services.GetRequiredService<IClusterMembershipService>();
        var silo = services.GetRequiredService<ILocalSiloDetails>();
        var options = services.GetRequiredService<IOptions<EtcdLivenessOptions>>().Value;
        _etcd = table.Etcd;
        _leases = new LiveView(_etcd, table.Layout.LivenessPrefix);
        var lease = _lease = new LivenessLease(_etcd, _leases, table.Layout.LivenessKey(silo.SiloAddress), silo.Name, options.LeaseTtl, services.GetRequiredService<ILogger<LivenessLease>>());
        var push = new MembershipPush(table, membership, services.GetRequiredService<ILogger<MembershipPush>>().Guarded());
        var (probe, policy) = (services.GetRequiredService<LivenessProbe>(), Policy(options));
        // Where a silo is evicted unasked, or nobody is, its lease alone decides.
        var pings = policy == EtcdEvictionPolicy.EvictWhenUnreachable && options.PingInterval > TimeSpan.Zero;
        var grace = pings ? ProcessWatch.Grace : TimeSpan.Zero;
        var monitor = new LivenessMonitor(_leases, lease, table, membership, probe, policy, options.Agents, grace, silo.SiloAddress, _etcd.Time, services.GetRequiredService<ILogger<LivenessMonitor>>().Guarded());
        List<Task> loops = [Detached.Run(() => push.RunAsync(_stop.Token)), Detached.Run(() => monitor.RunAsync(_stop.Token))];
        if (pings)
        {
            var processes = new ProcessWatch(_leases, table, membership, probe, options.PingInterval, options.Agents, silo.SiloAddress, _etcd.Time, services.GetRequiredService<ILogger<ProcessWatch>>().Guarded());
            loops.Add(Detached.Run(() => processes.RunAsync(_stop.Token)));
        }

        _loops = Task.WhenAll(loops);
        // So that it is missed should it die as soon as it has joined. An etcd that does not answer keeps nobody from starting.
        await lease.Tried.WaitAsync(stop).ConfigureAwait(false);
    }

    // Where Orleans is told not to declare anybody dead, asking it to is no use.
    private EtcdEvictionPolicy Policy(EtcdLivenessOptions options) =>
        services.GetRequiredService<IOptions<ClusterMembershipOptions>>().Value.LivenessEnabled ? options.EvictionPolicy : EtcdEvictionPolicy.ReportOnly;

    private async Task StopWatchingAsync()
    {
        await _stop.CancelAsync().ConfigureAwait(false);
        await _loops.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task LeaveAsync()
    {
        if (Interlocked.Exchange(ref _lease, null) is { } lease)
            await lease.DisposeAsync().ConfigureAwait(false);
        if (_leases is not null)
            await _leases.DisposeAsync().ConfigureAwait(false);
    }
}
