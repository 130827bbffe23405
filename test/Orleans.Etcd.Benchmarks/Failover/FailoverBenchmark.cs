using System.Globalization;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What becomes of whole clusters when a silo is killed or joins, against Orleans' Redis provider.</summary>
internal sealed class FailoverBenchmark : IBenchmark
{
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
        var data = Repository.Data();
        await using var server = await EtcdServer.StartAsync(new EtcdServerOptions { BinaryPath = Repository.Etcd(), DataDirectory = data }, cancellationToken);
        await new JoinAtOnce(contest, server.Endpoint).RunAsync(cancellationToken);
        await KillAsync(contest, server.Endpoint, data, cancellationToken);
    }

    private static async Task KillAsync(Contest contest, Uri etcd, string data, CancellationToken cancellationToken)
    {
        var kills = contest.Settings.RoundsOr(10);
        await using var ours = await FailoverCluster.OverEtcdAsync(etcd);
        await using var redis = RedisTable.Binary is { } binary ? await RedisServer.StartAsync(binary, data, appendOnly: false, cancellationToken) : null;
        await using var theirs = redis is null ? null : await FailoverCluster.OverRedisAsync($"127.0.0.1:{redis.Port}");
        contest.Report.Note($"three silo processes and a client each; kills: {kills}");
        var found = new List<Failover>();
        var against = new List<Failover>();
        for (var kill = 0; kill < kills; kill++)
        {
            found.Add(await ours.KillOneAsync(cancellationToken));
            if (theirs is not null)
                against.Add(await theirs.KillOneAsync(cancellationToken));
        }

        foreach (var (name, seconds) in Cases)
        {
            contest.Report.Note($"{name}, {ours.Name}: {List(found.Select(seconds))} s");
            if (theirs is not null)
                contest.Report.Note($"{name}, {theirs.Name}: {List(against.Select(seconds))} s");
            var figure = contest.Add(name, "s", ours.Name, theirs?.Name, [.. found.Select(seconds)], [.. against.Select(seconds)]);
            if (name == "kill-to-dead" && theirs is not null)
                contest.Report.RatioGoal("a killed silo is Dead in a third of the time", figure, 1.0 / 3);
        }
    }

    private static string List(IEnumerable<double> seconds) => string.Join(' ', seconds.Order().Select(value => value.ToString("F2", CultureInfo.InvariantCulture)));
}
