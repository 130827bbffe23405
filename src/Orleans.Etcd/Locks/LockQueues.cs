using System.Collections.Concurrent;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>The queues of a silo's grains.</summary>
internal sealed class LockQueues(EtcdConnection etcd, IOptions<ClusterOptions> cluster, ILoggerFactory loggers)
{
    private readonly ConcurrentDictionary<LockQueue, bool> _open = new();
    private readonly GroupCommit _commits = new(etcd);
    private readonly ILogger _logger = loggers.CreateLogger<LockQueue>();
    private readonly CancellationTokenSource _stopping = new();

    /// <summary>Cancelled when no call is to wait for anything any more.</summary>
    public CancellationToken Stopping => _stopping.Token;

    /// <summary>What <c>AddEtcdLocks()</c> has registered for a silo's grains, which are there without it too.</summary>
    /// <exception cref="InvalidOperationException">It was not called.</exception>
    public static T Required<T>(IServiceProvider services)
        where T : class =>
        services.GetService<T>() ?? throw new InvalidOperationException("This silo does not broker locks: call AddEtcdLocks() on every silo.");

    public LockQueue Open(LockKind kind, string name)
    {
        var serviceId = cluster.Value.ServiceId;
        var queue = new LockQueue(etcd, _commits, new LockLayout(etcd.Options.KeyPrefix, serviceId, kind, name), serviceId, _logger);
        _open.TryAdd(queue, true);
        if (_stopping.IsCancellationRequested)
            queue.EndWaits();
        return queue;
    }

    public async Task CloseAsync(LockQueue queue)
    {
        _open.TryRemove(queue, out _);
        await queue.DisposeAsync().ConfigureAwait(false);
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
