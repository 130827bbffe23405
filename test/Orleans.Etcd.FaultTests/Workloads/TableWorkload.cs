using System.Collections.Immutable;
using System.Text.Json;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Clustering;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>
/// Writers and readers of one membership table through two instances each with a connection of its own, heartbeats, and a
/// client's list of gateways.
/// </summary>
internal sealed class TableWorkload(Deployment deployment, int seed) : Workload("membership table", deployment, seed)
{
    private const int Processes = 4;
    private const int Rows = 4;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(8);

    // The refresh period of the list, and what a busy machine takes to tell.
    private static readonly TimeSpan Oldest = TimeSpan.FromSeconds(2);
    private static readonly SiloStatus[] Statuses = [SiloStatus.Joining, SiloStatus.Active, SiloStatus.Active, SiloStatus.ShuttingDown, SiloStatus.Dead];

    private readonly List<IAsyncDisposable> _owned = [];
    private readonly EtcdMembershipTable[] _tables = new EtcdMembershipTable[2];
    private readonly List<(long At, ImmutableSortedSet<string> Gateways)> _lists = [];
    private readonly History _gatewayCalls = new("gateway list");
    private EtcdGatewayListProvider? _gateways;
    private int _texts;

    public override int Enough => 100;

    public override bool AsksSilos => false;

    public override IReadOnlyList<History> Histories => [History, _gatewayCalls];

    public override IEnumerable<(string Name, IEnumerable<object> Records)> Records => [("gateway lists", _lists.Select(list => (object)new { list.At, list.Gateways }))];

    private ClusterOptions Cluster { get; } = new() { ServiceId = deployment.Id, ClusterId = $"table-{Guid.NewGuid():N}" };

    public override async Task StartAsync()
    {
        for (var i = 0; i < _tables.Length; i++)
        {
            var etcd = Own(Deployment.Connect());
            _tables[i] = Own(etcd.Table(Cluster));
            await _tables[i].InitializeMembershipTableAsync(true);
        }

        _gateways = new EtcdGatewayListProvider(Own(Deployment.Connect()), Options.Create(Cluster), Options.Create(new GatewayOptions()), NullLogger<EtcdGatewayListProvider>.Instance);
        await _gateways.InitializeGatewayListProviderAsync();
        for (var i = 0; i < Processes; i++)
        {
            var instance = i % _tables.Length;
            var process = History.NewProcess();
            Loop(async random => process = await OnceAsync(random, instance, process));
            History.Expect(TableStep.CapabilityOf("read all", instance));
            History.Expect(TableStep.CapabilityOf("write", instance));
        }

        History.Expect("heartbeat");
        var beats = History.NewProcess();
        Loop(async random =>
        {
            var silo = random.Next(Rows);
            // Without a token: it ends by itself.
            await History.RunAsync(new Step(beats, "heartbeat"), CallLimit, async _ =>
            {
                await _tables[0].UpdateIAmAliveAsync(Silos.Entry(silo, alive: DateTime.UtcNow), CancellationToken.None);
                return new Step(beats, "heartbeat");
            });
            await PauseAsync(random, 100, 300);
        });
        _gatewayCalls.Expect("gateways");
        Loop(async random =>
        {
            var step = new Step(1, "gateways");
            await _gatewayCalls.RunAsync(step, Timeout, async token =>
            {
                var gateways = await _gateways.GetGatewaysAsync(token);
                _lists.Add((MonotonicClock.Now, [.. gateways.Select(gateway => gateway.ToString())]));
                return step;
            });
            await PauseAsync(random, 10, 50);
        });
    }

    public override async Task StopAsync()
    {
        await base.StopAsync();
        // What the list comes to when all is quiet.
        await Task.Delay(TimeSpan.FromSeconds(1));
        _lists.Add((MonotonicClock.Now, [.. (await _gateways!.GetGatewaysAsync()).Select(gateway => gateway.ToString())]));
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var steps = History.Steps.OfType<TableStep>().ToArray();
        switch (TableChecker.Check(steps))
        {
            case Verdict.Broken:
                findings.Violated("the table's history fits into no order");
                break;
            case Verdict.Unknown:
                findings.Undecided("the search for an order of the table's history was given up");
                break;
        }

        var log = facts.Log.Under(EtcdKeys.Silos(EtcdKeys.Cluster(EtcdOptions.DefaultKeyPrefix, Cluster.ServiceId, Cluster.ClusterId)));
        foreach (var fault in CheckGateways(log, _lists, at => at >= facts.CalmFrom ? Oldest : facts.OldestAt(at)))
            findings.Violated(fault);
        findings.Count("gateway lists read", _lists.Count);
    }

    /// <summary>
    /// Each list is one that there was, in the order in which they were, and the last is the last; none is older than a list may be at
    /// its moment.
    /// </summary>
    public static IEnumerable<string> CheckGateways(LogPart log, IReadOnlyList<(long At, ImmutableSortedSet<string> Gateways)> lists, Func<long, TimeSpan?>? oldest = null)
    {
        var rows = log.Initial.ToDictionary();
        var states = new List<ImmutableSortedSet<string>> { Gateways(rows) };
        foreach (var revision in log.Revisions)
        {
            LogPart.Apply(rows, revision.Changes);
            states.Add(Gateways(rows));
        }

        var at = 0;
        foreach (var (moment, list) in lists)
        {
            if (oldest?.Invoke(moment) is { } age)
                at = Math.Max(at, log.Revisions.TakeWhile(revision => revision.Heard < moment - age.Micros()).Count());
            while (at < states.Count && !states[at].SetEquals(list))
                at++;
            if (at < states.Count)
                continue;
            yield return $"the gateways {string.Join(' ', list)} were told, which never were, or no more";
            yield break;
        }

        if (lists.Count > 0 && !states[^1].SetEquals(lists[^1].Gateways))
            yield return $"the gateways are {string.Join(' ', states[^1])}, and {string.Join(' ', lists[^1].Gateways)} is still told";
    }

    public override async ValueTask DisposeAsync()
    {
        if (_gateways is not null)
            await _gateways.DisposeAsync();
        // So that runs do not pile up.
        if (_tables[0] is not null)
            await _tables[0].DeleteMembershipTableEntriesAsync(Cluster.ClusterId);
        foreach (var owned in Enumerable.Reverse(_owned))
            await owned.DisposeAsync();
        await base.DisposeAsync();
    }

    private static ImmutableSortedSet<string> Gateways(IReadOnlyDictionary<string, string> rows) =>
    [
        .. rows.Values.Select(row => JsonDocument.Parse(row).RootElement)
            .Where(row => row.GetProperty("Status").GetString() == nameof(SiloStatus.Active) && row.GetProperty("ProxyPort").GetInt32() > 0)
            .Select(row => (Silo: SiloAddress.FromParsableString(row.GetProperty("SiloAddress").GetString()!), Port: row.GetProperty("ProxyPort").GetInt32()))
            .Select(row => SiloAddress.New(row.Silo.Endpoint.Address, row.Port, row.Silo.Generation).ToGatewayUri().ToString()),
    ];

    /// <summary>Reads, and writes on what it read; answers who asks next.</summary>
    private async Task<int> OnceAsync(Random random, int instance, int process)
    {
        await PauseAsync(random, 50, 350);
        var text = $"{process}-{Interlocked.Increment(ref _texts)}";
        return await TableSteps.ReadAndWriteAsync(History, _tables[instance], instance, process, random.Next(Rows), text, Statuses[random.Next(Statuses.Length)], random.Next(4) == 0, Timeout)
            ? process
            : History.NewProcess();
    }

    private T Own<T>(T owned)
        where T : IAsyncDisposable
    {
        _owned.Add(owned);
        return owned;
    }
}
