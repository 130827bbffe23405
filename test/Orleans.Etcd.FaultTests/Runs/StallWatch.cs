using System.Diagnostics;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>How long this process stood still at most, seen by a thread of its own that wants to run every 20 ms.</summary>
internal sealed class StallWatch : IDisposable
{
    private static readonly TimeSpan Tick = TimeSpan.FromMilliseconds(20);
    private readonly Thread _thread;
    private long _longest;
    private volatile bool _stop;

    public StallWatch()
    {
        _thread = new Thread(Watch) { IsBackground = true, Name = nameof(StallWatch) };
        _thread.Start();
    }

    public TimeSpan Longest => TimeSpan.FromTicks(Volatile.Read(ref _longest));

    public void Dispose()
    {
        _stop = true;
        _thread.Join();
    }

    private void Watch()
    {
        while (!_stop)
        {
            var since = Stopwatch.GetTimestamp();
            Thread.Sleep(Tick);
            var late = (Stopwatch.GetElapsedTime(since) - Tick).Ticks;
            if (late > _longest)
                Volatile.Write(ref _longest, late);
        }
    }
}
