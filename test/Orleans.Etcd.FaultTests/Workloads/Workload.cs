using Etcdserverpb;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>What uses one capability while faults go on, records what it was told and judges that afterwards.</summary>
internal abstract class Workload(string name, Deployment deployment, int seed) : IAsyncDisposable
{
    /// <summary>Within this a single call to etcd ends by itself: two of its timeouts.</summary>
    public static readonly TimeSpan CallLimit = new Configuration.EtcdOptions().RequestTimeout * 2;

    /// <summary>Within this a call of a grain ends by Orleans' own timeout of 30 s, as one does that is lost with its silo; who asked goes on before.</summary>
    protected static readonly TimeSpan GrainCallLimit = TimeSpan.FromSeconds(31);

    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _running = [];
    private int _loops;

    /// <summary>What shows that the capability works.</summary>
    public History History { get; } = new(name);

    /// <summary>All that is recorded, and must neither hang nor stay away for long.</summary>
    public virtual IReadOnlyList<History> Histories => [History];

    /// <summary>The fewest successes that make a run tell something.</summary>
    public abstract int Enough { get; }

    /// <summary>Whether silos take part in it, so that it may have to wait for what one of them held when it was attacked.</summary>
    public virtual bool AsksSilos => true;

    /// <summary>What one of its loops threw and should not have.</summary>
    public Exception? Failure => _running.FirstOrDefault(static loop => loop.IsFaulted)?.Exception;

    protected Deployment Deployment => deployment;

    protected int Seed => seed;

    /// <summary>Cancelled when the run asks no more.</summary>
    protected CancellationToken Stopping => _stop.Token;

    /// <summary>Prepares and begins.</summary>
    public abstract Task StartAsync();

    /// <summary>Asks no more, and waits for what is under way.</summary>
    public virtual async Task StopAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_running);
        await Task.WhenAll(Histories.Select(history => history.FinishAsync()));
    }

    /// <summary>What was recorded besides the histories, to be kept where a run does not pass.</summary>
    public virtual IEnumerable<(string Name, IEnumerable<object> Records)> Records => [];

    /// <summary>Judges what was recorded, with all of etcd's own history.</summary>
    public abstract void Check(Findings findings, RunFacts facts);

    public virtual ValueTask DisposeAsync()
    {
        _stop.Dispose();
        return ValueTask.CompletedTask;
    }

    /// <summary>Repeats something until the end, each loop with random numbers of its own.</summary>
    protected void Loop(Func<Random, Task> once)
    {
        var random = new Random(unchecked(History.Name.Aggregate(seed, static (hash, letter) => (hash * 31) + letter) + _loops++));
        _running.Add(Task.Run(async () =>
        {
            while (!Stopping.IsCancellationRequested)
                await once(random);
        }));
    }

    /// <summary>
    /// Removes what a run has left in etcd, so that runs do not pile up: by whichever member answers, as one may still hear nothing of the
    /// leader that others follow.
    /// </summary>
    protected static Task RemoveAsync(EtcdConnection etcd, params RequestOp[] removals) =>
        etcd.TxnRepeatablyAsync(new TxnRequest { Success = { removals } }, CancellationToken.None);

    protected static Task PauseAsync(Random random, int least, int most) => Task.Delay(random.Next(least, most));
}
