using System.Collections.Concurrent;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>What a lock protects: a set that is read and written as a whole, so that whoever writes what is old loses what is new.</summary>
/// <param name="isFenced">Whether it refuses tokens below the highest that it has seen, as everything behind a lock should.</param>
/// <param name="history">Where each time that it was held is noted.</param>
internal class LockLedger(bool isFenced = true, History? history = null) : ILockLedger
{
    private readonly object _lock = new();
    private readonly ConcurrentQueue<Hold> _holds = [];
    private readonly HashSet<Hold> _told = [];
    private readonly ConcurrentQueue<int> _added = [];
    private readonly ConcurrentQueue<(long At, string Where, string Problem)> _failures = [];
    private readonly ConcurrentQueue<(long At, string Where, TimeSpan By)> _overran = [];
    private int[] _elements = [];
    private long _highest;
    private int _next;
    private int _refused;

    public IReadOnlyCollection<Hold> Holds => _holds;

    public static string Capability(HoldKind kind) => $"{kind} had";

    /// <summary>What was acknowledged to whoever added it.</summary>
    public IReadOnlyCollection<int> Acknowledged => _added;

    /// <summary>Why it could not be had, where others were not the reason.</summary>
    public IReadOnlyCollection<(long At, string Where, string Problem)> Failures => _failures;

    /// <summary>Waits that went on after their time.</summary>
    public IReadOnlyCollection<(long At, string Where, TimeSpan By)> Overruns => _overran;

    public int Refused => Volatile.Read(ref _refused);

    /// <summary>What was acknowledged and is not there.</summary>
    public async Task<IReadOnlyCollection<int>> LostAsync() => [.. _added.Except(await ElementsAsync())];

    public virtual Task<int[]?> Read(long token)
    {
        lock (_lock)
            return Task.FromResult(Admit(token) ? _elements : null);
    }

    public virtual Task<bool> Write(long token, int[] elements)
    {
        lock (_lock)
        {
            if (!Admit(token))
                return Task.FromResult(false);
            _elements = elements;
            return Task.FromResult(true);
        }
    }

    public Task Held(Hold hold)
    {
        lock (_lock)
        {
            // It is told again where the answer was lost.
            if (!_told.Add(hold))
                return Task.CompletedTask;
        }

        _holds.Enqueue(hold);
        history?.Add(new Step(0, Capability(hold.Kind)) { Invoked = hold.Asked, Ended = hold.Until });
        return Task.CompletedTask;
    }

    public Task<int> NewElement() => Task.FromResult(Interlocked.Increment(ref _next));

    public Task Added(int element)
    {
        _added.Enqueue(element);
        return Task.CompletedTask;
    }

    public Task Failed(string where, string problem)
    {
        _failures.Enqueue((MonotonicClock.Now, where, problem));
        return Task.CompletedTask;
    }

    public Task Overran(string where, TimeSpan by)
    {
        _overran.Enqueue((MonotonicClock.Now, where, by));
        return Task.CompletedTask;
    }

    /// <summary>All that is there.</summary>
    protected virtual Task<int[]> ElementsAsync()
    {
        lock (_lock)
            return Task.FromResult(_elements);
    }

    protected void NoteRefused() => Interlocked.Increment(ref _refused);

    // Reading counts too: whoever has read with a newer token must not have its view changed by an older one.
    private bool Admit(long token)
    {
        if (isFenced && token < _highest)
        {
            NoteRefused();
            return false;
        }

        _highest = Math.Max(_highest, token);
        return true;
    }
}
