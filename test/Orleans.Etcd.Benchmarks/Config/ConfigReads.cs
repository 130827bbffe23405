using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What reading costs: a grain call, and a look at the view of the process.</summary>
internal sealed class ConfigReads(Contest contest, ConfigHosts hosts)
{
    private const string Name = "reads";
    private const int Operations = 10_000;
    private const int Looks = 2_000_000;
    private const double Limit = 1.1;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var config = hosts.Client.GetGrain<IConfigGrain>(Name);
        for (var i = 0; i < 100; i++)
            await config.Set($"key{i}", $"{i}");
        var (serving, _) = await hosts.SilosAsync(Name);
        // From within the silo that both are on: a client may reach one of them through another silo.
        var grains = serving.GetRequiredService<IGrainFactory>();
        config = grains.GetGrain<IConfigGrain>(Name);
        var empty = await ConfigHosts.EmptyOnAsync(serving.GetRequiredService<ILocalSiloDetails>().SiloAddress, grains);
        var figures = await contest.CompareAsync("get", Operations, new Contender("Get", () => config.Get("key50")), [new Contender("empty call", empty)], cancellationToken);
        contest.Report.RatioGoal("get: Get against an empty call", figures[0], Limit);

        var view = serving.GetRequiredKeyedService<IConfigView>(Name);
        await view.ReadyAsync(cancellationToken: cancellationToken);
        List<double> nanoseconds = [], bytes = [];
        for (var round = -1; round < contest.Settings.Rounds; round++)
        {
            var (count, length) = (contest.Settings.Operations(Looks), 0);
            var before = GC.GetAllocatedBytesForCurrentThread();
            var clock = Stopwatch.GetTimestamp();
            for (var i = 0; i < count; i++)
                length += view.Get("key50")!.Bytes.Length;
            var time = Stopwatch.GetElapsedTime(clock);
            if (length != 2 * count)
                throw new InvalidOperationException("It read something else.");
            if (round < 0)
                continue;
            nanoseconds.Add(time.TotalNanoseconds / count);
            bytes.Add((GC.GetAllocatedBytesForCurrentThread() - before) / (double)count);
        }

        contest.Add("local-view", "ns", "view", null, nanoseconds, []);
        contest.Report.Goal("local-view: no allocation", bytes.Max() < 0.01, FormattableString.Invariant($"{bytes.Max():0.###} bytes a read"));
    }
}
