using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>The queues of a silo's grains, and the look after those of which nobody asks anything any more.</summary>
/// <remarks>
/// Not Orleans' <c>CollectionAgeLimit</c>, which goes by the wall clock: where that falls back by more than the age, Orleans
/// (10.4.2) activates no such grain until time has caught up, and short ages are what falls back first.
/// </remarks>
internal sealed class LockQueues(EtcdConnection etcd, IOptions<ClusterOptions> cluster, ILoggerFactory loggers)
{
    private static readonly TimeSpan IdleFor = TimeSpan.FromMinutes(2);
    private static readonly TimeSpan BetweenLooks = TimeSpan.FromSeconds(30);

    private readonly ConcurrentDictionary<LockQueue, Action> _open = new();
    private readonly GroupCommit _commits = new(etcd);
    private readonly ILogger _logger = loggers.CreateGuarded<LockQueue>();
    private readonly CancellationTokenSource _stopping = new();
    private int _looking;

    /// <summary>Cancelled when no call is to wait for anything any more.</summary>
    public CancellationToken Stopping => _stopping.Token;

    /// <summary>What <c>AddEtcdLocks()</c> has registered for a silo's grains, which are there without it too.</summary>
    /// <exception cref="InvalidOperationException">It was not called.</exception>
    public static T Required<T>(IServiceProvider services)
        where T : class =>
        services.GetService<T>() ?? throw new InvalidOperationException("This silo does not broker locks: call AddEtcdLocks() on every silo.");

    /// <param name="kind">Of the lock.</param>
    /// <param name="name">Of the lock.</param>
    /// <param name="idle">Called, on any thread and perhaps more than once, when it has not been used for minutes.</param>
    public LockQueue Open(LockKind kind, string name, Action idle)
    {
        if (Interlocked.Exchange(ref _looking, 1) == 0)
            Detached.Start(LookAsync);
        var serviceId = cluster.Value.ServiceId;
        var queue = new LockQueue(etcd, _commits, new LockLayout(etcd.Options.KeyPrefix, serviceId, kind, name), serviceId, _logger);
        _open.TryAdd(queue, idle);
        if (_stopping.IsCancellationRequested)
            queue.EndWaits();
        return queue;
    }

    public async Task CloseAsync(LockQueue queue)
    {
        _open.TryRemove(queue, out _);
        await queue.DisposeAsync().ConfigureAwait(false);
    }

    private async Task LookAsync()
    {
        while (!_stopping.IsCancellationRequested && !etcd.IsDisposed)
        {
            await Task.Delay(BetweenLooks, etcd.Time, _stopping.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            foreach (var (queue, idle) in _open)
            {
                if (etcd.Time.GetElapsedTime(queue.LastUsed) >= IdleFor)
                    idle();
            }
        }
    }

    /// <summary>
    /// Ends all waits as the silo begins to stop: Orleans deactivates no grain while a call is in it, and keeps all later
    /// calls, releases among them, waiting meanwhile.
    /// </summary>
    public void EndWaits()
    {
        _stopping.Cancel();
        foreach (var queue in _open.Keys)
            queue.EndWaits();
    }
}
