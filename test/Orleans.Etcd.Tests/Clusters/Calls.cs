using System.Collections.Concurrent;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>Calls of fresh grains, one after another, until they are stopped; each failure is kept.</summary>
internal sealed class Calls
{
    private readonly CancellationTokenSource _stop = new();
    private readonly ConcurrentQueue<Exception> _failures = [];
    private readonly Task _running;
    private int _succeeded;

    public Calls(IClusterClient client) => _running = Task.Run(() => RunAsync(client));

    public int Succeeded => Volatile.Read(ref _succeeded);

    /// <summary>Stops, and answers what failed.</summary>
    public async Task<IReadOnlyCollection<Exception>> StopAsync()
    {
        await _stop.CancelAsync();
        await _running;
        return _failures;
    }

    private async Task RunAsync(IClusterClient client)
    {
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                await client.GetGrain<IWhere>(Random.Shared.NextInt64()).Here();
                Interlocked.Increment(ref _succeeded);
            }
            catch (Exception exception)
            {
                _failures.Enqueue(exception);
            }

            await Task.Delay(10);
        }
    }
}
