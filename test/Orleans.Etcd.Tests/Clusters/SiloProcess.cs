using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;

namespace Orleans.Etcd.Tests.Clusters;

/// <summary>A silo in a process of its own, which can be asked to leave, killed and frozen by its id.</summary>
internal sealed partial class SiloProcess : IAsyncDisposable
{
    private const int Sigterm = 15;
    private const int Sigcont = 18;
    private const int Sigstop = 19;

    // The kernel kills the child when the thread that started it ends, so one thread starts them all and stays.
    private static readonly BlockingCollection<Action> Starts = StarterThread();

    private readonly Process _process;
    private readonly StringBuilder _output = new();

    private SiloProcess(string name, Process process, IPEndPoint endpoint, int gatewayPort)
    {
        Name = name;
        Endpoint = endpoint;
        GatewayPort = gatewayPort;
        _process = process;
        process.OutputDataReceived += (_, line) => Note(line.Data);
        process.ErrorDataReceived += (_, line) => Note(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    public string Name { get; }

    public IPEndPoint Endpoint { get; }

    public int GatewayPort { get; }

    public bool HasExited => _process.HasExited;

    /// <summary>What it has written so far.</summary>
    public string Output
    {
        get
        {
            lock (_output)
                return _output.ToString();
        }
    }

    public static async Task<SiloProcess> StartAsync(string name, string clusterId, IEnumerable<Uri> endpoints, int siloPort, int gatewayPort)
    {
        var start = new ProcessStartInfo("setpriv") { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in new[]
        {
            "--pdeathsig", "KILL", "dotnet", Path.Combine(AppContext.BaseDirectory, "Orleans.Etcd.Tests.Silo.dll"),
            "--Endpoints", string.Join(',', endpoints),
            "--ClusterId", clusterId,
            "--SiloName", name,
            "--SiloPort", $"{siloPort}",
            "--GatewayPort", $"{gatewayPort}",
        })
        {
            start.ArgumentList.Add(argument);
        }

        var started = new TaskCompletionSource<Process>(TaskCreationOptions.RunContinuationsAsynchronously);
        Starts.Add(() => started.SetResult(Process.Start(start)!));
        return new SiloProcess(name, await started.Task, new IPEndPoint(IPAddress.Loopback, siloPort), gatewayPort);
    }

    /// <summary>Asks it to leave, as a service manager does (SIGTERM).</summary>
    public void Terminate() => Signal(Sigterm);

    /// <summary>Freezes it (SIGSTOP): its sockets stay open, and nothing answers.</summary>
    public void Freeze() => Signal(Sigstop);

    /// <summary>Lets it go on (SIGCONT).</summary>
    public void Thaw() => Signal(Sigcont);

    public async Task KillAsync()
    {
        _process.Kill();
        await _process.WaitForExitAsync();
    }

    public Task WaitForExitAsync(TimeSpan within) => _process.WaitForExitAsync().WaitAsync(within);

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            await KillAsync();
        _process.Dispose();
    }

    private static BlockingCollection<Action> StarterThread()
    {
        var starts = new BlockingCollection<Action>();
        new Thread(() =>
        {
            foreach (var start in starts.GetConsumingEnumerable())
                start();
        })
        { IsBackground = true, Name = "silo starter" }.Start();
        return starts;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int processId, int signal);

    private void Signal(int signal) => _ = SendSignal(_process.Id, signal);

    private void Note(string? line)
    {
        lock (_output)
            _output.AppendLine(line);
    }
}
