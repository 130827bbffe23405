using System.Globalization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What becomes of whole clusters when a silo is killed or joins, against Orleans' Redis provider.</summary>
internal sealed class FailoverBenchmark : IBenchmark
{
    // Orleans 10.4 halves its probes' time, 5 s by default, once a silo has answered four of them.
    private static readonly TimeSpan Settling = TimeSpan.FromSeconds(30);

    private static readonly (string Case, Func<Failover, double> Seconds)[] Cases =
    [
        ("kill-to-dead", failover => failover.Dead),
        ("kill-to-first-call", failover => failover.Call),
        ("join-to-seen", failover => failover.Join),
    ];

    public string Name => "failover";

    public string Summary => "silos killed, and joining one by one and all at once: against Orleans' Redis provider with default options";

    public async Task RunAsync(Contest contest, CancellationToken cancellationToken)
    {
        await using var server = await BenchmarkEtcd.StartAsync(cancellationToken);
        await using var redis = RedisServer.Binary is { } binary ? await RedisServer.StartAsync(binary, appendOnly: false, cancellationToken) : null;
        if (redis is null)
            contest.Report.Note(RedisServer.Missing);
        await new JoinAtOnce(contest, server.Endpoint, redis?.Address).RunAsync(cancellationToken);
        // Orleans' probes take too long to be shown quickly.
        await KillAsync(contest, server.Endpoint, contest.Settings.Quick ? null : redis?.Address, cancellationToken);
    }

    private static async Task KillAsync(Contest contest, Uri etcd, string? redis, CancellationToken cancellationToken)
    {
        var kills = contest.Settings.RoundsOr(10);
        await using var ours = await FailoverCluster.OverEtcdAsync(etcd);
        await using var leases = contest.Settings.Quick ? null : await FailoverCluster.OverLeasesAsync(etcd);
        await using var theirs = redis is null ? null : await FailoverCluster.OverRedisAsync(redis);
        contest.Report.Note($"three silo processes and a client each; kills: {kills} of the oldest silo and {kills} of the youngest, 5 to 10 s old");
        if (!contest.Settings.Quick)
            await Task.Delay(Settling, cancellationToken);
        FailoverCluster[] clusters = [.. new[] { ours, leases, theirs }.OfType<FailoverCluster>()];
        var found = Ages(contest.Settings).SelectMany(young => clusters.Select(cluster => (cluster, young))).ToDictionary(key => key, _ => new List<Failover>());
        for (var kill = 0; kill < kills; kill++)
        {
            Random.Shared.Shuffle(clusters);
            foreach (var cluster in clusters)
            {
                // The oldest, and then the one that has come instead, while it is young.
                foreach (var young in Ages(contest.Settings))
                    found[(cluster, young)].Add(await cluster.KillOneAsync(young, contest.Settings.Quick ? TimeSpan.Zero : Between(), cancellationToken));
            }
        }

        foreach (var young in Ages(contest.Settings))
        {
            foreach (var cluster in new[] { ours, leases }.OfType<FailoverCluster>())
                Show(contest, cluster.Name, found[(cluster, young)], theirs?.Name, theirs is null ? [] : found[(theirs, young)], young, isDefault: cluster == ours);
            if (theirs is not null)
                List(contest, theirs.Name, found[(theirs, young)], young);
        }
    }

    private static bool[] Ages(Settings settings) => settings.Quick ? [true] : [false, true];

    /// <summary>At no particular time between two renewals or probes; before the youngest has answered four of Orleans' probes.</summary>
    private static TimeSpan Between() => TimeSpan.FromSeconds(5 + (5 * Random.Shared.NextDouble()));

    private static void Show(Contest contest, string ours, List<Failover> found, string? theirs, List<Failover> against, bool young, bool isDefault)
    {
        List(contest, ours, found, young);
        foreach (var (name, seconds) in Cases)
        {
            var figure = contest.Add(Which(name, young), "s", ours, theirs, [.. found.Select(seconds)], [.. against.Select(seconds)]);
            if (name == "kill-to-dead" && theirs is not null && isDefault)
                contest.Report.RatioGoal($"{Which(name, young)}: Dead in a third of the time", figure, 1.0 / 3);
        }
    }

    private static void List(Contest contest, string cluster, List<Failover> found, bool young)
    {
        foreach (var (name, seconds) in Cases)
            contest.Report.Note($"{Which(name, young)}, {cluster}: {string.Join(' ', found.Select(seconds).Order().Select(value => value.ToString("F2", CultureInfo.InvariantCulture)))} s");
    }

    private static string Which(string name, bool young) => young ? name + ", young" : name;
}
