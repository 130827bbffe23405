using System.Collections.Concurrent;
using System.Diagnostics;

namespace Orleans.Etcd.Testing;

/// <summary>Starts processes from one thread that lives as long as this process.</summary>
/// <remarks>
/// Linux sends the parent death signal when the THREAD that started the child ends, not the process: started from the
/// thread pool, a server would be killed whenever its pool thread retires.
/// </remarks>
internal static class ProcessStarter
{
    private static readonly BlockingCollection<(ProcessStartInfo Start, TaskCompletionSource<Process> Started)> Requests = [];

    static ProcessStarter() =>
        new Thread(Run) { IsBackground = true, Name = "etcd process starter" }.UnsafeStart();

    public static Task<Process> StartAsync(ProcessStartInfo start)
    {
        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        Requests.Add((start, started));
        return started.Task;
    }

    private static void Run()
    {
        foreach (var (start, started) in Requests.GetConsumingEnumerable())
        {
            try
            {
                started.SetResult(Process.Start(start)!);
            }
            catch (Exception exception)
            {
                started.SetException(new EtcdServerException($"'{start.FileName}' could not be started: {exception.Message}", exception));
            }
        }
    }
}
