using Orleans.Concurrency;
using Orleans.Placement;

namespace Orleans.Etcd;

/// <summary>
/// Brokers a lock by its <see cref="LockQueue"/>, which does everything. Reentrant, so that a wait keeps no release waiting;
/// on the silo of whoever asks first, which is often the one that asks again.
/// </summary>
internal abstract class LockQueueGrain : Grain, ILockQueueGrain
{
    private readonly IServiceProvider _services;
    private readonly LockKind _kind;
    private (LockQueues Queues, LockQueue Queue)? _open;

    protected LockQueueGrain(IServiceProvider services, LockKind kind)
    {
        _services = services;
        _kind = kind;
    }

    // Made by the first call and not by the activation, whose exceptions reach the caller in another shape: the name may be
    // one that cannot be a key, and the silo one that brokers no locks.
    private LockQueue Queue
    {
        get
        {
            var (_, queue) = _open ??= Open();
            queue.NoteUse();
            return queue;
        }
    }

    public Task<LockAnswer> Acquire(LockRequest request) => Queue.AcquireAsync(request);

    public Task<bool> Release(LockRequest request, long token) => Queue.ReleaseAsync(request, token);

    public Task Cancel(LockRequest request) => Queue.CancelAsync(request);

    public Task<LockStatus> GetStatus() => Queue.GetStatusAsync();

    public Task<bool> ForceRelease(long token) => Queue.ForceReleaseAsync(token);

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_open is var (queues, queue))
            await queues.CloseAsync(queue).ConfigureAwait(true);
    }

    private (LockQueues Queues, LockQueue Queue) Open()
    {
        var queues = LockQueues.Required<LockQueues>(_services);
        return (queues, queues.Open(_kind, this.GetPrimaryKeyString(), () => GrainContext.Deactivate(new(DeactivationReasonCode.ActivationIdle, "Nobody asks for the lock."))));
    }
}

[Reentrant, PreferLocalPlacement]
internal sealed class LockGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.Mutex), ILockGrain;

[Reentrant, PreferLocalPlacement]
internal sealed class SemaphoreGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.Semaphore), ISemaphoreGrain;

[Reentrant, PreferLocalPlacement]
internal sealed class ReadWriteLockGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.ReadWrite), IReadWriteLockGrain;
