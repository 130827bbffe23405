using System.Diagnostics;
using System.Globalization;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>Each of a member's syncs to disk takes longer, by a debugger that stands in between.</summary>
internal sealed record SlowFsync(int Member, TimeSpan Delay) : MemberFault(Member)
{
    // Seen on 3.4: a leader that cannot sync takes leases away that were renewed.
    public override bool MayRevokeLiveLeases(TimeSpan lasts) => true;

    public override bool CanBeMade() => FaultTools.Find("strace") is not null && Environment.IsPrivilegedProcess;

    protected override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        if (target.Etcd.Members[member].TryGetProcessId() is not { } id)
            return Nothing;
        var start = ProcessStarter.EndingWithUs(
            FaultTools.Find("strace")!, "-qqf", "-p", Number(id), "-e", "trace=fdatasync", "-e", $"inject=fdatasync:delay_enter={Number(Delay.TotalMicroseconds)}", "-o", "/dev/null");
        start.RedirectStandardError = true;
        var tracer = await ProcessStarter.StartAsync(start);
        tracer.ErrorDataReceived += (_, _) => { };
        tracer.BeginErrorReadLine();
        return new Undo(async () =>
        {
            // SIGINT lets it let go of the member; killed, it would leave it stopped.
            if (!tracer.HasExited)
                await RunKillAsync(tracer);
            tracer.Dispose();
        });
    }

    private static async Task RunKillAsync(Process tracer)
    {
        await FaultTools.RunAsync("kill", "-INT", Number(tracer.Id));
        await tracer.WaitForExitAsync().WaitAsync(TimeSpan.FromSeconds(20));
    }

    private static string Number(double value) => value.ToString("0", CultureInfo.InvariantCulture);
}
