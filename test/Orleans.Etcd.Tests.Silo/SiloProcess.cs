using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.RegularExpressions;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>A silo in a process of its own, which can be asked to leave, killed and frozen by its id.</summary>
internal sealed partial class SiloProcess : IAsyncDisposable
{
    private const int Sigterm = 15;
    private const int Sigcont = 18;
    private const int Sigstop = 19;

    private readonly Process _process;
    private readonly object _lock = new();
    private readonly Dictionary<string, string> _statuses = [];
    private StringBuilder _output = new();

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

    public int Id => _process.Id;

    public bool HasExited => _process.HasExited;

    /// <summary>What it has written so far, or since <see cref="Forget"/>.</summary>
    public string Output
    {
        get
        {
            lock (_lock)
                return _output.ToString();
        }
    }

    /// <summary>Forgets what it has written so far.</summary>
    public void Forget()
    {
        lock (_lock)
            _output = new();
    }

    /// <summary>Starts one; the settings are those of <see cref="EtcdOptions"/> and of the silo's own program.</summary>
    public static async Task<SiloProcess> StartAsync(string name, IReadOnlyDictionary<string, string> settings, int siloPort, int gatewayPort, IEnumerable<KeyValuePair<string, string>>? environment = null)
    {
        var start = ProcessStarter.EndingWithUs("dotnet", Path.Combine(AppContext.BaseDirectory, "Orleans.Etcd.Tests.Silo.dll"));
        // Killed, it could not remove the files that the runtime makes for debuggers.
        start.Environment["DOTNET_EnableDiagnostics"] = "0";
        foreach (var (variable, value) in environment ?? [])
            start.Environment[variable] = value;
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        foreach (var (setting, value) in settings)
            start.ArgumentList.Add($"--{setting}={value}");
        foreach (var own in new[] { $"--SiloName={name}", $"--SiloPort={siloPort}", $"--GatewayPort={gatewayPort}" })
            start.ArgumentList.Add(own);
        return new SiloProcess(name, await ProcessStarter.StartAsync(start), new IPEndPoint(IPAddress.Loopback, siloPort), gatewayPort);
    }

    /// <summary>Waits until this silo's own view shows another with a status, and answers when it first did.</summary>
    public Task<DateTimeOffset> SeesAsync(SiloProcess other, SiloStatus status, TimeSpan within) => SeesAsync(other.Endpoint, status, within);

    /// <summary>Waits until this silo's own view shows another with a status, and answers when it first did.</summary>
    public async Task<DateTimeOffset> SeesAsync(IPEndPoint other, SiloStatus status, TimeSpan within)
    {
        for (var clock = Stopwatch.StartNew(); ; await Task.Delay(20))
        {
            if (Saw(other, status) is { } at)
                return at;
            if (clock.Elapsed >= within)
                throw new TimeoutException($"{Name} does not see {other} {status} within {within}. Its output: {Output}");
        }
    }

    /// <summary>The silos that this silo's own view shows as active now.</summary>
    public IReadOnlyCollection<string> ActiveSilos()
    {
        lock (_lock)
            return [.. _statuses.Where(silo => silo.Value == nameof(SiloStatus.Active)).Select(silo => silo.Key[..silo.Key.IndexOf('@', StringComparison.Ordinal)])];
    }

    /// <summary>Its own address, once it sees itself as active.</summary>
    public SiloAddress? Address()
    {
        lock (_lock)
            return _statuses.Where(silo => silo.Value == nameof(SiloStatus.Active)).Select(silo => SiloAddress.FromParsableString(silo.Key)).FirstOrDefault(silo => silo.Endpoint.Equals(Endpoint));
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

    /// <summary>Waits for its end, with all it had to say; answers its exit code.</summary>
    public async Task<int> WaitForExitAsync(TimeSpan within)
    {
        await _process.WaitForExitAsync().WaitAsync(within);
        return _process.ExitCode;
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            await KillAsync();
        _process.Dispose();
    }

    /// <summary>When this silo's own view first showed another with a status; null if it has not.</summary>
    private DateTimeOffset? Saw(IPEndPoint other, SiloStatus status)
    {
        var line = Regex.Match(Output, $@"^membership {Regex.Escape(other.ToString())}@\d+ {status} (\d+)\r?$", RegexOptions.Multiline);
        return line.Success ? DateTimeOffset.FromUnixTimeMilliseconds(long.Parse(line.Groups[1].Value, CultureInfo.InvariantCulture)) : null;
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int processId, int signal);

    private void Signal(int signal) => _ = SendSignal(_process.Id, signal);

    private void Note(string? line)
    {
        lock (_lock)
        {
            _output.AppendLine(line);
            if (line?.Split(' ') is ["membership", var silo, var status, ..])
                _statuses[silo] = status;
        }
    }
}
