using System.Runtime.InteropServices;
using Orleans.Etcd.Benchmarks;

// Usage is printed by ./run-benchmarks, which also builds and installs; it asks here for the names.
var benchmarks = typeof(IBenchmark).Assembly.GetTypes()
    .Where(type => type is { IsClass: true, IsAbstract: false } && type.IsAssignableTo(typeof(IBenchmark)))
    .Select(type => (IBenchmark)Activator.CreateInstance(type)!)
    .OrderBy(benchmark => benchmark.Name, StringComparer.Ordinal)
    .ToArray();
if (args is ["--list"])
{
    foreach (var each in benchmarks)
        Console.WriteLine($"{each.Name,-12}{each.Summary}");
    return 0;
}

if (Settings.Parse(args) is not { } settings || benchmarks.FirstOrDefault(each => each.Name == settings.Name) is not { } benchmark)
    return 2;

// A signal ends the run through its `await using`s, so that the servers that it started end too.
using var stop = new CancellationTokenSource();
void Stop(PosixSignalContext signal)
{
    signal.Cancel = true;
    stop.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
var report = new Report(Console.Out);
try
{
    await benchmark.RunAsync(new Contest(benchmark.Name, settings, report), stop.Token);
}
catch (OperationCanceledException) when (stop.IsCancellationRequested)
{
    return 130;
}

report.Print();
report.Append(settings.JsonFile);
Console.WriteLine($"\nAppended to {settings.JsonFile}.");
// A ratio depends on the machine and on what else it does; a count does not.
return report.CountsMet ? 0 : 1;
