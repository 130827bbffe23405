using System.Diagnostics;
using System.Runtime.InteropServices;

namespace Orleans.Etcd.Testing;

/// <summary>One run of etcd, addressed by the process we started and never by name.</summary>
/// <remarks>Not disposable: it stays askable after its end, and an ended process holds nothing that matters.</remarks>
internal sealed class EtcdProcess
{
    public const int SigTerm = 15;
    public static readonly int SigStop = OperatingSystem.IsMacOS() ? 17 : 19;
    public static readonly int SigCont = OperatingSystem.IsMacOS() ? 19 : 18;

    // SIGKILL cannot be refused: a process that is still there after this long hangs in the kernel.
    private static readonly TimeSpan KillTimeout = TimeSpan.FromSeconds(30);
    private readonly Process _process;

    private EtcdProcess(Process process)
    {
        _process = process;
        Id = process.Id;
    }

    public int Id { get; }

    public bool HasExited => _process.HasExited;

    public int ExitCode => _process.ExitCode;

    public static async Task<EtcdProcess> StartAsync(ProcessStartInfo start) =>
        new(await ProcessStarter.StartAsync(start).ConfigureAwait(false));

    public void Signal(int signal)
    {
        // Already ended is no failure: it may end at any moment, also right after the signal.
        if (!_process.HasExited && Kill(Id, signal) != 0 && !_process.HasExited)
            throw new EtcdServerException($"Signal {signal} could not be sent to etcd (process {Id}): error {Marshal.GetLastPInvokeError()}.");
    }

    /// <summary>Stops the process (SIGSTOP) and waits until it stands.</summary>
    /// <remarks>
    /// The signal is only sent when <c>kill</c> returns: a thread that runs on another core goes on until it is
    /// interrupted, and may answer one more request.
    /// </remarks>
    public void Freeze()
    {
        Signal(SigStop);
        if (!OperatingSystem.IsLinux()) return;
        var start = Environment.TickCount64;
        while (!_process.HasExited && !Stands())
        {
            if (Environment.TickCount64 - start > KillTimeout.TotalMilliseconds)
                throw new EtcdServerException($"etcd (process {Id}) did not stop within {KillTimeout.TotalSeconds:0} s of SIGSTOP.");
            Thread.Yield();
        }
    }

    public async Task KillAsync(CancellationToken cancellationToken)
    {
        if (!_process.HasExited) _process.Kill();
        if (!await WaitAsync(KillTimeout, cancellationToken).ConfigureAwait(false))
            throw new EtcdServerException($"etcd (process {Id}) did not end within {KillTimeout.TotalSeconds:0} s of SIGKILL.");
    }

    /// <summary>Waits for the end of the process; false when it has not ended in time.</summary>
    public async Task<bool> WaitAsync(TimeSpan timeout, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(timeout);
        try
        {
            await _process.WaitForExitAsync(limit.Token).ConfigureAwait(false);
            return true;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return false;
        }
    }

    /// <summary>Whether every thread is in the state T, stopped by a signal; it follows the name in parentheses.</summary>
    private bool Stands()
    {
        try
        {
            return Directory.EnumerateDirectories($"/proc/{Id}/task").All(task =>
            {
                var stat = File.ReadAllText(Path.Combine(task, "stat"));
                return stat[stat.LastIndexOf(')') + 2] == 'T';
            });
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // A thread, or the process, ended while it was looked at.
            return false;
        }
    }

    [DllImport("libc", EntryPoint = "kill", SetLastError = true)]
    [DefaultDllImportSearchPaths(DllImportSearchPath.SafeDirectories)]
    private static extern int Kill(int processId, int signal);
}
