using BenchmarkDotNet.Columns;
using BenchmarkDotNet.Configs;
using BenchmarkDotNet.Diagnosers;
using BenchmarkDotNet.Jobs;
using BenchmarkDotNet.Loggers;
using BenchmarkDotNet.Running;
using BenchmarkDotNet.Toolchains.InProcess.NoEmit;
using Perfolizer.Mathematics.OutlierDetection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What the paths allocate that ask nobody and are taken often, by BenchmarkDotNet, in this process, which is the host.</summary>
internal sealed class AllocationsBenchmark : IBenchmark
{
    private const int Counted = 1000;

    public string Name => "allocations";

    public string Summary => "bytes and nanoseconds of what is read locally and often: gateway list, config view, row encoding";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        using var bare = new BareEtcd(server);
        await using var etcd = BenchmarkEtcd.Connect(server);
        await using var hosts = await ConfigHosts.StartAsync(server.Endpoint, cancellationToken);
        await using var paths = await LocalPaths.Subjects.StartAsync(bare, etcd, hosts, cancellationToken);
        LocalPaths.Current = paths;

        var job = Job.Default.WithToolchain(InProcessNoEmitToolchain.Instance).WithIterationCount(Math.Max(contest.Settings.Rounds, 3)).WithOutlierMode(OutlierMode.DontRemove);
        if (contest.Settings.Quick)
        {
            // Enough for what other threads of the silos allocate meanwhile to be little each.
            job = job.WithWarmupCount(1).WithInvocationCount(4096).WithUnrollFactor(1);
        }

        var config = ManualConfig.CreateEmpty()
            .AddJob(job)
            .AddDiagnoser(MemoryDiagnoser.Default)
            .AddColumnProvider(DefaultColumnProviders.Instance)
            .AddLogger(NullLogger.Instance)
            .WithOptions(ConfigOptions.DisableLogFile)
            .WithArtifactsPath(Path.Combine(Repository.Artifacts, "BenchmarkDotNet"));
        foreach (var report in BenchmarkRunner.Run<LocalPaths>(config).Reports)
        {
            var what = report.BenchmarkCase.Descriptor.WorkloadMethodDisplayInfo.Trim('\'');
            if (report.ResultStatistics is not { } statistics || report.GcStats.GetBytesAllocatedPerOperation(report.BenchmarkCase) is not { } bytes)
                throw new InvalidOperationException($"{what} could not be measured: {string.Join(' ', report.ExecuteResults.SelectMany(result => result.Errors))}");
            contest.Add(what, "bytes", "library", null, [bytes], []);
            contest.Add(what, "ns", "library", null, [.. statistics.OriginalValues], []);
        }

        var local = new LocalPaths();
        local.Take();
        var ofGet = BytesOf(() => local.Get());
        contest.Report.CountGoal($"{LocalPaths.ViewGet}: no allocation", ofGet == 0, $"{ofGet} bytes in {Counted} calls");
    }

    /// <summary>What so many calls allocate on this thread; BenchmarkDotNet counts what the host's other threads do meanwhile too.</summary>
    private static long BytesOf(Action call)
    {
        call();
        var before = GC.GetAllocatedBytesForCurrentThread();
        for (var time = 0; time < Counted; time++)
            call();
        return GC.GetAllocatedBytesForCurrentThread() - before;
    }
}
