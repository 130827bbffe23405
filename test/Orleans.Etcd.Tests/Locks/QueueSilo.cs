using System.Collections.Concurrent;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>
/// What one silo does for locks, without the silo: real queues over a real etcd. Two of them are two activations of every
/// grain, which Orleans has only for moments and a test wants to keep.
/// </summary>
internal sealed class QueueSilo(EtcdConnection etcd, string serviceId) : IAsyncDisposable
{
    private readonly ConcurrentDictionary<(LockKind, string), LockQueue> _queues = new();
    private readonly LockQueues _factory = new(etcd, Microsoft.Extensions.Options.Options.Create(new ClusterOptions { ServiceId = serviceId, ClusterId = "c" }), NullLoggerFactory.Instance);

    public EtcdConnection Etcd => etcd;

    public static QueueSilo Start(EtcdServer server, string serviceId, Uri? through = null, TimeProvider? time = null) => new(server.Connect(through: through, time: time), serviceId);

    public LockQueue Queue(LockKind kind, string name) => _queues.GetOrAdd((kind, name), key => _factory.Open(key.Item1, key.Item2, static () => { }));

    public LockQueue Queue(string name) => Queue(LockKind.Mutex, name);

    public ILockQueueGrain Grain(LockKind kind, string name) => new Call(Queue(kind, name));

    public async ValueTask DisposeAsync()
    {
        foreach (var queue in _queues.Values)
            await queue.DisposeAsync();
        await etcd.DisposeAsync();
    }

    private sealed class Call(LockQueue queue) : ILockQueueGrain
    {
        public Task<LockAnswer> Acquire(LockRequest request) => queue.AcquireAsync(request);

        public Task<bool> Release(LockRequest request, long token) => queue.ReleaseAsync(request, token);

        public Task Cancel(LockRequest request) => queue.CancelAsync(request);

        public Task<LockStatus> GetStatus() => queue.GetStatusAsync();

        public Task<bool> ForceRelease(long token) => queue.ForceReleaseAsync(token);
    }
}

/// <summary>What one process does that holds locks: a real session over a connection of its own, and handles.</summary>
internal sealed class QueueClient : IAsyncDisposable
{
    private readonly EtcdConnection _etcd;
    private readonly EtcdLocks _locks;

    /// <param name="etcd">Its connection.</param>
    /// <param name="serviceId">Whose locks.</param>
    /// <param name="grain">Who brokers them.</param>
    /// <param name="ttl">Of the session.</param>
    /// <param name="outage">How long it puts up with failures.</param>
    /// <param name="maxCall">How long one call may wait.</param>
    public QueueClient(EtcdConnection etcd, string serviceId, Func<LockKind, string, ILockQueueGrain> grain, TimeSpan? ttl = null, TimeSpan? outage = null, TimeSpan? maxCall = null)
    {
        _etcd = etcd;
        var store = new SessionStore(etcd, serviceId);
        Sessions = new LockSessions(stop => EtcdSessionLink.OpenAsync(store, ttl ?? TimeSpan.FromSeconds(4), "test", stop), etcd.Time, NullLogger<LockSession>.Instance);
        _locks = new EtcdLocks(new LockContext(grain, Sessions, etcd.Time)
        {
            Owner = "test",
            ReleaseTimeout = TimeSpan.FromSeconds(5),
            OutageTimeout = outage ?? TimeSpan.FromSeconds(30),
            MaxCall = maxCall ?? LockQueue.CallLimit,
        });
    }

    public ILocks Locks => _locks;

    public LockSessions Sessions { get; }

    /// <summary>As a silo does when it begins to stop.</summary>
    public Task EndWaitsAsync() => _locks.EndWaitsAsync();

    public async Task<long> SessionAsync() => (await Sessions.GetAsync(CancellationToken.None)).Id;

    public async ValueTask DisposeAsync()
    {
        await _locks.DisposeAsync();
        await _etcd.DisposeAsync();
    }
}
