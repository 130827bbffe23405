namespace Orleans.Etcd.Tests.Clustering;

/// <summary>What a silo answers; at first, that it and all others live.</summary>
internal sealed class Answering : ILivenessService
{
    private int _pings;

    public int Pings => Volatile.Read(ref _pings);

    public Func<Task> Ping { get; set; } = () => Task.CompletedTask;

    public Func<Task<bool>> Reaches { get; set; } = () => Task.FromResult(true);

    public Task PingAsync()
    {
        Interlocked.Increment(ref _pings);
        return Ping();
    }

    public Task<bool> ReachesAsync(SiloAddress silo) => Reaches();
}
