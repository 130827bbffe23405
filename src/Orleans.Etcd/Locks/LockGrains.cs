using Orleans.Concurrency;
using Orleans.Placement;

namespace Orleans.Etcd;

/// <summary>
/// Brokers a lock by its <see cref="LockQueue"/>, which does everything. Reentrant, so that a wait keeps no release waiting;
/// on the silo of whoever asks first, which is often the one that asks again.
/// </summary>
internal abstract class LockQueueGrain : Grain, ILockQueueGrain
{
    private readonly LockQueues _queues;
    private readonly LockKind _kind;
    private LockQueue? _queue;

    protected LockQueueGrain(IServiceProvider services, LockKind kind)
    {
        _queues = LockQueues.Required<LockQueues>(services);
        _kind = kind;
    }

    // Made by the first call and not by the activation, whose exceptions reach the caller in another shape: the name may be
    // one that cannot be a key.
    private LockQueue Queue
    {
        get
        {
            _queue ??= _queues.Open(_kind, this.GetPrimaryKeyString(), () => GrainContext.Deactivate(new(DeactivationReasonCode.ActivationIdle, "Nobody asks for the lock.")));
            _queue.NoteUse();
            return _queue;
        }
    }

    public Task<LockAnswer> Acquire(LockRequest request) => Queue.AcquireAsync(request);

    public Task<bool> Release(LockRequest request, long token) => Queue.ReleaseAsync(request, token);

    public Task Cancel(LockRequest request) => Queue.CancelAsync(request);

    public Task<LockStatus> GetStatus() => Queue.GetStatusAsync();

    public Task<bool> ForceRelease(long token) => Queue.ForceReleaseAsync(token);

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_queue is not null)
            await _queues.CloseAsync(_queue).ConfigureAwait(true);
    }
}

[Reentrant, PreferLocalPlacement]
internal sealed class LockGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.Mutex), ILockGrain;

[Reentrant, PreferLocalPlacement]
internal sealed class SemaphoreGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.Semaphore), ISemaphoreGrain;

[Reentrant, PreferLocalPlacement]
internal sealed class ReadWriteLockGrain(IServiceProvider services) : LockQueueGrain(services, LockKind.ReadWrite), IReadWriteLockGrain;
