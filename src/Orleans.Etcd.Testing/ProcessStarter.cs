using System.Collections.Concurrent;
using System.Diagnostics;

namespace Orleans.Etcd.Testing;

/// <summary>Starts processes that end with this one, from one thread that lives as long as this process.</summary>
/// <remarks>
/// Linux sends the parent death signal when the THREAD that started the child ends, not the process: started from the
/// thread pool, a server would be killed whenever its pool thread retires.
/// </remarks>
internal static class ProcessStarter
{
    private static readonly BlockingCollection<(ProcessStartInfo Start, TaskCompletionSource<Process> Started)> Requests = [];

    private static readonly string? SetPriv =
        !OperatingSystem.IsLinux() ? null : new[] { "/usr/bin/setpriv", "/bin/setpriv" }.FirstOrDefault(File.Exists);

    static ProcessStarter() =>
        new Thread(Run) { IsBackground = true, Name = "process starter" }.UnsafeStart();

    /// <summary>A command, not yet started, that on Linux is killed when this process ends, however it ends.</summary>
    public static ProcessStartInfo EndingWithUs(params string[] command)
    {
        if (SetPriv is not null)
            command = [SetPriv, "--pdeathsig", "KILL", "--", .. command];
        return new ProcessStartInfo(command[0], command[1..]);
    }

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
