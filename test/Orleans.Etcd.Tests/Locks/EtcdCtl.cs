using System.Diagnostics;
using System.Runtime.InteropServices;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>A running <c>etcdctl lock</c>.</summary>
internal sealed partial class EtcdCtl : IAsyncDisposable
{
    private const int Sigint = 2;

    private readonly Process _process;

    private EtcdCtl(Process process) => _process = process;

    /// <summary>Starts one that waits for the lock, writes its key when it has it, and holds it until it is interrupted.</summary>
    public static async Task<EtcdCtl> LockAsync(EtcdServer server, string binary, string lockName) => new(await StartAsync([server.Endpoint], binary, "lock", lockName));

    /// <summary>Runs a shell command under the lock and answers what it wrote.</summary>
    public static Task<string> RunLockedAsync(IReadOnlyList<Uri> endpoints, string binary, string lockName, string command) =>
        RunAsync(endpoints, binary, "lock", lockName, "--", "sh", "-c", command);

    /// <summary>Runs one that ends by itself, and answers what it wrote.</summary>
    public static async Task<string> RunAsync(IReadOnlyList<Uri> endpoints, string binary, params string[] arguments)
    {
        using var process = await StartAsync(endpoints, binary, arguments);
        var output = await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        return output;
    }

    /// <summary>Waits until it has the lock.</summary>
    public async Task HeldAsync()
    {
        var line = await _process.StandardOutput.ReadLineAsync();
        if (string.IsNullOrEmpty(line))
            throw new InvalidOperationException($"etcdctl ended: {await _process.StandardError.ReadToEndAsync()}");
    }

    /// <summary>Lets it release the lock and end.</summary>
    public async Task ReleaseAsync()
    {
        _ = SendSignal(_process.Id, Sigint);
        await _process.WaitForExitAsync();
    }

    public async ValueTask DisposeAsync()
    {
        if (!_process.HasExited)
            _process.Kill();
        await _process.WaitForExitAsync();
        _process.Dispose();
    }

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int SendSignal(int processId, int signal);

    private static Task<Process> StartAsync(IReadOnlyList<Uri> endpoints, string binary, params string[] arguments)
    {
        var tool = Path.Combine(Path.GetDirectoryName(binary)!, "etcdctl");
        var addresses = string.Join(',', endpoints.Select(endpoint => endpoint.GetLeftPart(UriPartial.Authority)));
        var start = ProcessStarter.EndingWithUs([File.Exists(tool) ? tool : "etcdctl", "--endpoints", addresses, .. arguments]);
        EtcdCommand.ClearEnvironment(start);
        start.Environment["ETCDCTL_API"] = "3";
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        return ProcessStarter.StartAsync(start);
    }
}
