using System.Globalization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// The same operations with 10 things of a kind and with up to 10,000, and the memory that they take. Each pass has an
/// etcd of its own, filled and measured before the next, in random order of their sizes.
/// </summary>
internal sealed class GrowthBenchmark : IBenchmark
{
    public const string BenchmarkName = "growth";
    public const string LatencyMetric = "p50_us";

    private const int Operations = 200;
    private const double Mebibyte = 1024 * 1024;
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(3);
    private static readonly int[] Sizes = [10, 100, 1000, 10_000];

    public string Name => BenchmarkName;

    public string Summary => "the same operations with 10 to 10,000 silos, locks, namespaces, watches and sessions, and their memory";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        var sizes = contest.Settings.Quick ? Sizes[..2] : Sizes;
        foreach (var kind in GrowthKind.All)
        {
            // Whichever is first also pays for what .NET compiles.
            if (!contest.Settings.Quick)
                await PassAsync(contest.Settings, kind, sizes[0], cancellationToken);
            var found = sizes.ToDictionary(size => size, _ => new List<Grown>());
            for (var round = 0; round < contest.Settings.RoundsOr(5); round++)
            {
                int[] turns = [.. sizes];
                Random.Shared.Shuffle(turns);
                foreach (var size in turns)
                    found[size].Add(await PassAsync(contest.Settings, kind, size, cancellationToken));
            }

            Show(contest, kind, found);
        }
    }

    private static async Task<Grown> PassAsync(Settings settings, GrowthKind kind, int size, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        using var bare = new BareEtcd(server);
        await using var things = await kind.StartAsync(server, bare, cancellationToken);
        var before = await MemoryAsync(bare, settings, cancellationToken);
        await things.FillAsync(size, cancellationToken);
        var after = await MemoryAsync(bare, settings, cancellationToken);
        var grown = new Grown(new Memory(after.Heap - before.Heap, after.WorkingSet - before.WorkingSet, after.Etcd - before.Etcd), []);
        var count = settings.Operations(Operations);
        foreach (var operation in things.Operations)
        {
            await Round.RunAsync([operation], Math.Max(count / 4, 3), cancellationToken);
            grown.Microseconds[operation.Name] = (await Round.RunAsync([operation], count, cancellationToken)).Milliseconds(0, 50) * 1000;
        }

        return grown;
    }

    /// <summary>
    /// Once the heap of this process does not shrink any more: what was only needed to make the things goes, and what is
    /// left of the pass before, which may be as large as what this one makes.
    /// </summary>
    private static async Task<Memory> MemoryAsync(BareEtcd bare, Settings settings, CancellationToken cancellationToken)
    {
        for (var before = double.MaxValue; ;)
        {
            // Of this kind what is free goes back to the system too.
            GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, blocking: true, compacting: true);
            GC.WaitForPendingFinalizers();
            var now = (double)GC.GetTotalMemory(forceFullCollection: false);
            if (settings.Quick || before - now < Mebibyte / 4)
                return new Memory(now, Environment.WorkingSet, await bare.ResidentBytesAsync(cancellationToken));
            before = now;
            await Task.Delay(Settling, cancellationToken);
        }
    }

    private static void Show(Contest contest, GrowthKind kind, Dictionary<int, List<Grown>> found)
    {
        var least = found.Keys.Min();
        foreach (var operation in found[least][0].Microseconds.Keys)
        {
            foreach (var (size, passes) in found)
            {
                var against = size == least ? null : Label(least);
                contest.Add($"{kind.Name}: {operation}", LatencyMetric, Label(size), against, Of(passes, operation), Of(found[least], operation));
            }
        }

        var most = found.Keys.Max();
        foreach (var (what, bytes) in new (string, Func<Memory, double>)[]
        {
            ("heap of this process", memory => memory.Heap),
            ("working set of this process", memory => memory.WorkingSet),
            ("resident memory of etcd", memory => memory.Etcd),
        })
        {
            contest.Add($"{kind.Name}: {what}", "MiB_per_1000", Label(most), null, [.. found[most].Select(pass => bytes(pass.Memory) / Mebibyte / (most / 1000.0))], []);
        }
    }

    private static double[] Of(List<Grown> passes, string operation) => [.. passes.Select(pass => pass.Microseconds[operation])];

    private static string Label(int size) => size.ToString(CultureInfo.InvariantCulture);

    /// <summary>Bytes.</summary>
    private sealed record Memory(double Heap, double WorkingSet, double Etcd);

    /// <summary>Of one pass: by how much each memory grew, and the median of each operation.</summary>
    private sealed record Grown(Memory Memory, Dictionary<string, double> Microseconds);
}
