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
        var (ours, theirs) = (await OurMemoryAsync(settings, cancellationToken), await bare.ResidentBytesAsync(cancellationToken));
        await things.FillAsync(size, cancellationToken);
        var grown = new Grown(await OurMemoryAsync(settings, cancellationToken) - ours, await bare.ResidentBytesAsync(cancellationToken) - theirs, []);
        var count = settings.Operations(Operations);
        foreach (var operation in things.Operations)
        {
            await Round.RunAsync([operation], Math.Max(count / 4, 3), cancellationToken);
            grown.Microseconds[operation.Name] = (await Round.RunAsync([operation], count, cancellationToken)).Milliseconds(0, 50) * 1000;
        }

        return grown;
    }

    /// <summary>
    /// The heap of this process, once it does not shrink any more: what was only needed to make the things goes, and what is
    /// left of the pass before, which may be as large as what this one makes.
    /// </summary>
    private static async Task<double> OurMemoryAsync(Settings settings, CancellationToken cancellationToken)
    {
        for (var before = double.MaxValue; ;)
        {
            var now = (double)GC.GetTotalMemory(forceFullCollection: true);
            if (settings.Quick || before - now < Mebibyte / 4)
                return now;
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
        var thousands = most / 1000.0;
        contest.Add($"{kind.Name}: heap of this process", "MiB_per_1000", Label(most), null, [.. found[most].Select(pass => pass.OurBytes / Mebibyte / thousands)], []);
        contest.Add($"{kind.Name}: resident memory of etcd", "MiB_per_1000", Label(most), null, [.. found[most].Select(pass => pass.EtcdBytes / Mebibyte / thousands)], []);
    }

    private static double[] Of(List<Grown> passes, string operation) => [.. passes.Select(pass => pass.Microseconds[operation])];

    private static string Label(int size) => size.ToString(CultureInfo.InvariantCulture);

    /// <summary>Of one pass: by how much the heap of this process and etcd's memory grew, and the median of each operation.</summary>
    private sealed record Grown(double OurBytes, double EtcdBytes, Dictionary<string, double> Microseconds);
}
