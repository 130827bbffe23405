using System.Diagnostics;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Many silos, all in this process, that start at the same moment: until each of them sees all as Active, and how many
/// writes of our table were refused because another had written first. With push and without, and over Redis.
/// </summary>
internal sealed class JoinAtOnce(Contest contest, Uri etcd, string? redis)
{
    private static readonly TimeSpan Limit = TimeSpan.FromMinutes(5);

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var silos = contest.Settings.Quick ? 3 : 30;
        var ours = new Way("Orleans.Etcd", silo => UseEtcd(silo));
        List<Way> others = [new Way("Orleans.Etcd without push and liveness", silo => Unpush(UseEtcd(silo)))];
        if (redis is not null)
            others.Add(new Way(FailoverCluster.RedisName, silo => silo.UseRedisClustering(redis)));
        var results = new[] { ours }.Concat(others).ToDictionary(way => way, _ => new List<(double Seconds, long Conflicts)>());
        // Whichever is first also pays for what .NET compiles.
        if (!contest.Settings.Quick)
        {
            foreach (var way in results.Keys)
                await JoinAsync(silos: 3, way, cancellationToken);
        }

        for (var round = 0; round < contest.Settings.RoundsOr(5); round++)
        {
            var order = results.Keys.ToArray();
            Random.Shared.Shuffle(order);
            foreach (var way in order)
                results[way].Add(await JoinAsync(silos, way, cancellationToken));
        }

        var @case = $"join-at-once {silos}";
        foreach (var other in others)
            contest.Add(@case, "s", ours.Name, other.Name, [.. results[ours].Select(run => run.Seconds)], [.. results[other].Select(run => run.Seconds)]);
        contest.Add(@case, "conflicts", ours.Name, others[0].Name, [.. results[ours].Select(run => (double)run.Conflicts)], [.. results[others[0]].Select(run => (double)run.Conflicts)]);
    }

    private ISiloBuilder UseEtcd(ISiloBuilder silo) => silo.UseEtcdClustering(etcd.ToString());

    /// <summary>Where the table is not ours as it is, neither push nor liveness starts.</summary>
    private static void Unpush(ISiloBuilder silo)
    {
        var table = silo.Services.Last(service => service.ServiceType == typeof(IMembershipTable));
        silo.Services.Remove(table);
        silo.Services.AddSingleton<IMembershipTable>(services => new Unpushed((EtcdMembershipTable)table.ImplementationFactory!(services)));
    }

    private static async Task<(double Seconds, long Conflicts)> JoinAsync(int silos, Way way, CancellationToken cancellationToken)
    {
        long conflicts = 0;
        using var listener = new MeterListener();
        listener.InstrumentPublished = static (instrument, me) =>
        {
            if (instrument.Name == "orleans.etcd.membership.conflicts")
                me.EnableMeasurementEvents(instrument);
        };
        listener.SetMeasurementEventCallback<long>((_, count, _, _) => Interlocked.Add(ref conflicts, count));
        listener.Start();

        var id = $"join-{Guid.NewGuid():N}";
        var hosts = Enumerable.Range(0, silos).Select(_ => BenchmarkHost.Silo(id, way.Provider)).ToList();
        try
        {
            var clock = Stopwatch.StartNew();
            await Task.WhenAll(hosts.Select(host => host.StartAsync(cancellationToken)));
            while (!hosts.All(host => SeesAll(host, silos)))
            {
                if (clock.Elapsed > Limit)
                    throw new TimeoutException($"{silos} silos do not all see each other within {Limit}.");
                await Task.Delay(20, cancellationToken);
            }

            return (clock.Elapsed.TotalSeconds, Interlocked.Read(ref conflicts));
        }
        finally
        {
            // Killed rather than stopped: only joining is of interest.
            using var at = new CancellationTokenSource();
            await at.CancelAsync();
            await Task.WhenAll(hosts.Select(host => host.StopAsync(at.Token))).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            foreach (var host in hosts)
                await ((IAsyncDisposable)host).DisposeAsync();
        }
    }

    private static bool SeesAll(IHost host, int silos) =>
        host.Services.GetRequiredService<IClusterMembershipService>().CurrentSnapshot.Members.Values.Count(member => member.Status == SiloStatus.Active) == silos;

    /// <summary>Where the silos keep their membership.</summary>
    private sealed record Way(string Name, Action<ISiloBuilder> Provider);

    private sealed class Unpushed(EtcdMembershipTable table) : IMembershipTable, IAsyncDisposable
    {
        public Task InitializeMembershipTable(bool tryInitTableVersion) => table.InitializeMembershipTable(tryInitTableVersion);

        public Task DeleteMembershipTableEntries(string clusterId) => table.DeleteMembershipTableEntries(clusterId);

        public Task CleanupDefunctSiloEntries(DateTimeOffset beforeDate) => table.CleanupDefunctSiloEntries(beforeDate);

        public Task<MembershipTableData> ReadRow(SiloAddress key) => table.ReadRow(key);

        public Task<MembershipTableData> ReadAll() => table.ReadAll();

        public Task<bool> InsertRow(MembershipEntry entry, TableVersion tableVersion) => table.InsertRow(entry, tableVersion);

        public Task<bool> UpdateRow(MembershipEntry entry, string etag, TableVersion tableVersion) => table.UpdateRow(entry, etag, tableVersion);

        public Task UpdateIAmAlive(MembershipEntry entry) => table.UpdateIAmAlive(entry);

        public ValueTask DisposeAsync() => table.DisposeAsync();
    }
}
