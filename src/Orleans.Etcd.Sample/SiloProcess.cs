using System.Diagnostics;
using System.Runtime.InteropServices;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Sample;

/// <summary>A silo that runs as another process of this program.</summary>
internal sealed partial class SiloProcess : IAsyncDisposable
{
    private const int Sigterm = 15;

    private readonly Process _process;
    private readonly StreamWriter _log;

    private SiloProcess(string name, Process process, string logFile)
    {
        Name = name;
        _process = process;
        _log = new StreamWriter(logFile) { AutoFlush = true };
        process.OutputDataReceived += (_, line) => Write(line.Data);
        process.ErrorDataReceived += (_, line) => Write(line.Data);
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
    }

    public string Name { get; }

    public bool HasExited => _process.HasExited;

    public static SiloProcess Start(string name, string endpoints, string cluster, string logDirectory)
    {
        var start = new ProcessStartInfo(Environment.ProcessPath!)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // Killed, it could not remove the files that the runtime makes for debuggers.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        // Run as `dotnet Program.dll`, the program is an argument; run by its own launcher, it is not.
        if (Path.GetFileNameWithoutExtension(start.FileName).Equals("dotnet", StringComparison.OrdinalIgnoreCase))
            start.ArgumentList.Add(typeof(SiloProcess).Assembly.Location);
        foreach (var argument in new[] { "silo", name, endpoints, cluster, $"{LoopbackPort.Take()}", $"{LoopbackPort.Take()}" })
            start.ArgumentList.Add(argument);
        return new SiloProcess(name, Process.Start(start)!, Path.Combine(logDirectory, name + ".log"));
    }

    /// <summary>Asks the silo to leave, as a service manager would.</summary>
    public void Terminate() => _ = kill(_process.Id, Sigterm);

    /// <summary>Ends it without a word to anyone (SIGKILL).</summary>
    public void Kill() => _process.Kill();

    /// <summary>Whether it ends within the time, and says itself that all was well.</summary>
    public async Task<bool> EndsAsync(TimeSpan within, CancellationToken cancellationToken)
    {
        try
        {
            await _process.WaitForExitAsync(cancellationToken).WaitAsync(within, cancellationToken);
            return _process.ExitCode == 0;
        }
        catch (TimeoutException)
        {
            return false;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
        lock (_log)
            _log.Dispose();
    }

    [LibraryImport("libc")]
    private static partial int kill(int processId, int signal);

    private void Write(string? line)
    {
        if (line is null)
            return;
        lock (_log)
        {
            if (_log.BaseStream is { CanWrite: true })
                _log.WriteLine(line);
        }
    }
}
