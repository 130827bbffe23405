using System.Globalization;
using CsCheck;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>
/// Random histories on two tables, each answer compared with a model's. CsCheck prints the seed and the shortest
/// failing history it finds; more of them with ORLEANS_ETCD_TEST_SEQUENCES.
/// </summary>
[Trait("Category", "Soak")]
public abstract class TableModelTests(SharedEtcd etcd)
{
    private const int SilosInPlay = 4;
    private static readonly long Sequences = long.Parse(Environment.GetEnvironmentVariable("ORLEANS_ETCD_TEST_SEQUENCES") ?? "300", CultureInfo.InvariantCulture);

    private static readonly Gen<TableStep> Step =
        from action in Gen.Frequency(
            (4, Gen.Const(TableAction.Insert)),
            (6, Gen.Const(TableAction.Update)),
            (3, Gen.Const(TableAction.Heartbeat)),
            (3, Gen.Const(TableAction.ReadAll)),
            (2, Gen.Const(TableAction.ReadRow)),
            (2, Gen.Const(TableAction.Cleanup)),
            (1, Gen.Const(TableAction.DeleteAll)))
        from silo in Gen.Int[1, SilosInPlay]
        from status in Gen.OneOf(Gen.Const(SiloStatus.Joining), Gen.Const(SiloStatus.Active), Gen.Const(SiloStatus.Dead), Gen.Const(SiloStatus.Dead))
        from minutes in Gen.Int[-3, 6]
        from second in Gen.Bool
        from staleVersion in Gen.Frequency((5, Gen.Const(false)), (1, Gen.Const(true)))
        from staleRow in Gen.Frequency((5, Gen.Const(false)), (1, Gen.Const(true)))
        select new TableStep(action, silo, status, minutes, second, staleVersion, staleRow);

    [Fact]
    public async Task RandomHistories_AgreeWithTheModel()
    {
        await using var one = etcd.Server.Connect();
        await using var two = etcd.Server.Connect();
        await Step.Array[4, 16].SampleAsync(steps => RunAsync(one, two, steps), iter: Sequences, threads: 2, print: steps => string.Join("\n", steps.Select(step => step.ToString())));
    }

    private static async Task RunAsync(EtcdConnection one, EtcdConnection two, TableStep[] steps)
    {
        var options = new ClusterOptions { ServiceId = "model", ClusterId = Guid.NewGuid().ToString("N") };
        // The first reads every heartbeat anew, so that it can be held to them; the second as a silo does.
        await using var first = Table(one, options, heartbeatAge: TimeSpan.Zero);
        await using var second = Table(two, options, heartbeatAge: TimeSpan.FromSeconds(30));
        await first.InitializeMembershipTableAsync(true);
        await second.InitializeMembershipTableAsync(true);
        var model = new TableModel();
        var history = new History();
        for (var i = 0; i < steps.Length; i++)
        {
            var table = steps[i].SecondTable ? second : first;
            if (await StepAsync(table, exact: table == first, options, model, history, steps[i]) is { } difference)
                throw new InvalidOperationException($"step {i + 1} ({steps[i]}): {difference}");
        }

        foreach (var table in new[] { first, second })
        {
            if (Compare(model.Describe(withAlive: table == first), TableModel.Describe(await table.ReadAllAsync(), withAlive: table == first)) is { } difference)
                throw new InvalidOperationException($"at the end: {difference}");
        }
    }

    private static async Task<string?> StepAsync(EtcdMembershipTable table, bool exact, ClusterOptions options, TableModel model, History history, TableStep step)
    {
        var time = Silos.Epoch.AddMinutes(step.Minutes);
        switch (step.Action)
        {
            case TableAction.Insert:
            case TableAction.Update:
                return await WriteAsync(table, model, history, step, time);
            case TableAction.Heartbeat:
                await table.UpdateIAmAliveAsync(Silos.Entry(step.Silo, alive: time));
                model.Heartbeat(step.Silo, time);
                return null;
            case TableAction.Cleanup:
                await table.CleanupDefunctSiloEntriesAsync(time);
                model.Cleanup(time);
                return null;
            case TableAction.DeleteAll:
                await table.DeleteMembershipTableEntriesAsync(options.ClusterId);
                model.DeleteAll();
                return null;
            case TableAction.ReadRow:
                // A cleaned-up cluster has no version key; a row is still read as absent at version 0.
                return Compare(model.Describe(withAlive: true, step.Silo), TableModel.Describe(await table.ReadRowAsync(Silos.Address(step.Silo)), withAlive: true));
            default:
                return Compare(model.Describe(exact), TableModel.Describe(await table.ReadAllAsync(), exact));
        }
    }

    private static async Task<string?> WriteAsync(EtcdMembershipTable table, TableModel model, History history, TableStep step, DateTime time)
    {
        var read = await table.ReadRowAsync(Silos.Address(step.Silo));
        var version = history.Version(read.Version, step.StaleVersion, out var versionGood);
        var entry = Silos.Entry(step.Silo, step.Status, time);
        if (step.Action == TableAction.Insert)
            return Compare(model.Insert(step.Silo, step.Status, time, versionGood), await table.InsertRowAsync(entry, version.Next()));
        var row = history.Row(step.Silo, read.Members.Count == 0 ? null : read.Members[0].Item2, step.StaleRow, out var rowGood);
        return Compare(model.Update(step.Silo, step.Status, time, versionGood && rowGood), await table.UpdateRowAsync(entry, row, version.Next()));
    }

    private static string? Compare<T>(T expected, T actual) => Equals(expected, actual) ? null : $"expected {expected}, was {actual}";

    private static EtcdMembershipTable Table(EtcdConnection connection, ClusterOptions options, TimeSpan heartbeatAge) => new(
        connection,
        Microsoft.Extensions.Options.Options.Create(options),
        Microsoft.Extensions.Options.Options.Create(new ClusterMembershipOptions { IAmAliveTablePublishTimeout = heartbeatAge }),
        NullLogger<EtcdMembershipTable>.Instance);

    /// <summary>Tokens seen so far, to have stale ones at hand.</summary>
    private sealed class History
    {
        private readonly Dictionary<int, string> _rows = [];
        private TableVersion? _version;

        public TableVersion Version(TableVersion current, bool stale, out bool good)
        {
            var old = _version;
            _version = current;
            good = !stale || old is null || old.VersionEtag == current.VersionEtag;
            return good ? current : old!;
        }

        public string Row(int silo, string? current, bool stale, out bool good)
        {
            _rows.TryGetValue(silo, out var old);
            if (current is not null)
                _rows[silo] = current;
            good = current is not null && (!stale || old is null || old == current);
            return good ? current! : old ?? "1";
        }
    }
}

[Trait("Category", "Long")]
public sealed class TableModelOn34(SharedEtcd34 etcd) : TableModelTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableModelOn35(SharedEtcd35 etcd) : TableModelTests(etcd), IClassFixture<SharedEtcd35>;
