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

if (Settings.Parse(args) is not { } settings)
    return 2;
var chosen = benchmarks.Where(benchmark => settings.Name is Settings.All || benchmark.Name == settings.Name).ToArray();
if (chosen.Length == 0 && settings.Name != Settings.Docs)
    return 2;

// A signal ends the run through its `await using`s, so that the servers that it started end too; a second one at once.
using var stop = new CancellationTokenSource();
void Stop(PosixSignalContext signal)
{
    signal.Cancel = !stop.IsCancellationRequested;
    stop.Cancel();
}

using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
using var hangup = PosixSignalRegistration.Create(PosixSignal.SIGHUP, Stop);
// By benchmark, why it could not be measured, or which counts are not as they should be.
var (failed, wrong) = (new Dictionary<string, string>(), new Dictionary<string, string>());
foreach (var benchmark in chosen)
{
    try
    {
        var missed = await RunAsync(benchmark, settings, stop.Token);
        if (missed.Count > 0)
            wrong.Add(benchmark.Name, string.Join("; ", missed.Select(goal => $"{goal.Goal}: {goal.Found}")));
    }
    catch (Exception) when (stop.IsCancellationRequested)
    {
        return 130;
    }
    catch (Exception exception)
    {
        // The others are still of interest.
        Console.Error.WriteLine($"\n{benchmark.Name} failed: {exception}");
        failed.Add(benchmark.Name, exception.Message);
    }
}

if (settings.Name is Settings.Docs || (settings.Name is Settings.All && settings.IsKept))
    Console.WriteLine($"\nWrote {BenchmarkPage.Write([.. benchmarks.Select(benchmark => (benchmark.Name, RunResult.TryLoad(benchmark.Name)))], failed.Keys)}.");
// A ratio depends on the machine and on what else it does; a count does not. Last, where it is not lost among the tables.
foreach (var (name, why) in failed.Concat(wrong))
    Console.Error.WriteLine($"Failed: {name}: {why}");
return failed.Count + wrong.Count == 0 ? 0 : 1;

static async Task<IReadOnlyList<GoalResult>> RunAsync(IBenchmark benchmark, Settings settings, CancellationToken cancellationToken)
{
    var report = new Report(Console.Out);
    var context = await RunContext.ReadAsync(cancellationToken);
    Console.WriteLine($"\n{benchmark.Name}: {benchmark.Summary}\n{context.Machine}; {string.Join(", ", context.Versions.Select(pair => $"{pair.Key} {pair.Value}"))}");
    await benchmark.RunAsync(new Contest(benchmark.Name, settings, report), cancellationToken);
    report.Print();
    if (!settings.IsKept)
    {
        Console.WriteLine($"\nFewer than {Settings.LeastRounds} rounds show that all works, and not how fast: they are not kept.");
        return report.MissedCounts;
    }

    report.Append(settings.JsonFile, context);
    new RunResult(benchmark.Name, benchmark.Summary, context, report.Notes, report.Figures, report.Goals).Save();
    Console.WriteLine($"\nAppended to {settings.JsonFile}.");
    return report.MissedCounts;
}
