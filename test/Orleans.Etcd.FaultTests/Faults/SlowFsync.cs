using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>Each of a member's syncs to disk takes longer, by a debugger that stands in between.</summary>
/// <param name="Member">Which one.</param>
/// <param name="Delay">By how much.</param>
/// <param name="LogOnly">Only those of its write-ahead log: it hears its leader and applies nothing meanwhile, and can still read what it has.</param>
internal sealed record SlowFsync(int Member, TimeSpan Delay, bool LogOnly = false) : MemberFault(Member)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);
    private static readonly ConcurrentDictionary<int, Process> Tracers = [];

    // Seen on 3.4: a leader that cannot sync takes leases away that were renewed.
    public override bool MayRevokeLiveLeases(TimeSpan lasts) => true;

    public override bool CanBeMade() => FaultTools.Find("strace") is not null && Environment.IsPrivilegedProcess;

    /// <summary>Ends it for a member, if it is under way there.</summary>
    public static async Task LetGoAsync(EtcdServer member)
    {
        if (member.TryGetProcessId() is not { } id || !Tracers.TryRemove(id, out var tracer))
            return;
        if (!tracer.HasExited)
        {
            // Asked nicely it lets go of the member, in whatever state that is; where it hangs itself the kernel does that.
            await FaultTools.RunAsync("kill", "-INT", Number(tracer.Id));
            await tracer.WaitForExitAsync().WaitAsync(Patience).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            if (!tracer.HasExited)
                tracer.Kill();
        }

        tracer.Dispose();
    }

    protected override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        var etcd = target.Etcd.Members[member];
        if (etcd.TryGetProcessId() is not { } id)
            throw new InvalidOperationException("It is down.");
        string[] files = LogOnly ? [.. OpenLogs(id).SelectMany(file => new[] { "-P", file })] : [];
        var start = ProcessStarter.EndingWithUs(
            [FaultTools.Find("strace")!, "-qqf", "-p", Number(id), .. files, "-e", "trace=fdatasync", "-e", $"inject=fdatasync:delay_enter={Number(Delay.TotalMicroseconds)}", "-o", "/dev/null"]);
        start.RedirectStandardError = true;
        var tracer = await ProcessStarter.StartAsync(start);
        tracer.ErrorDataReceived += (_, _) => { };
        tracer.BeginErrorReadLine();
        Tracers[id] = tracer;
        if (!await IsAttachedAsync(id))
        {
            await LetGoAsync(etcd);
            throw new TimeoutException("strace did not attach.");
        }

        return new Undo(async () =>
        {
            if (Tracers.TryGetValue(id, out var own) && own == tracer)
                await LetGoAsync(etcd);
            // Its member is gone, and it with it, or it waits for what never comes.
            if (Tracers.TryRemove(KeyValuePair.Create(id, tracer)))
                tracer.Kill();
        });
    }

    /// <summary>Waits until the member is under the debugger: what is not is not slow.</summary>
    private static async Task<bool> IsAttachedAsync(int id)
    {
        for (var since = Stopwatch.StartNew(); since.Elapsed < Patience; await Task.Delay(20))
        {
            if ((await File.ReadAllLinesAsync($"/proc/{Number(id)}/status")).Any(line => line.StartsWith("TracerPid:", StringComparison.Ordinal) && !line.EndsWith("\t0", StringComparison.Ordinal)))
                return true;
        }

        return false;
    }

    private static IEnumerable<string> OpenLogs(int id) =>
        Directory.EnumerateFiles($"/proc/{Number(id)}/fd").Select(file => new FileInfo(file).LinkTarget).OfType<string>().Where(file => file.EndsWith(".wal", StringComparison.Ordinal));

    private static string Number(double value) => value.ToString("0", CultureInfo.InvariantCulture);
}
