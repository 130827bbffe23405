using System.Collections.Immutable;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Writers and readers at the same time on two tables: what they saw fits into one order.</summary>
[Trait("Category", "Soak")]
public abstract class TableLinearizabilityTests(SharedEtcd etcd)
{
    private const int Processes = 8;
    private const int SilosInPlay = 4;
    private const int StepsOfEach = 40;

    [Fact]
    public async Task ConcurrentHistories_AreLinearizable()
    {
        for (var round = 0; round < 5; round++)
        {
            var seed = Random.Shared.Next();
            var steps = await RecordAsync(seed);
            Assert.True(TableHistory.IsLinearizable(steps), $"seed {seed}:\n{string.Join("\n", steps.OrderBy(step => step.Asked))}");
        }
    }

    [Fact]
    public async Task CorruptedHistories_AreRejected()
    {
        var steps = await RecordAsync(seed: 1);
        Assert.True(TableHistory.IsLinearizable(steps));
        var random = new Random(2);
        for (var i = 0; i < 25; i++)
        {
            var at = random.Next(steps.Count);
            var corrupted = steps.SetItem(at, Corrupt(steps[at], random));
            Assert.False(TableHistory.IsLinearizable(corrupted), $"accepted {corrupted[at]} in place of {steps[at]}");
        }
    }

    /// <summary>A run by eight processes, half of them on each table, of reads and of writes with tokens now and then stale.</summary>
    private async Task<ImmutableList<TableHistory.Step>> RecordAsync(int seed)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var history = new TableHistory();
        await Task.WhenAll(Enumerable.Range(0, Processes).Select(process => Task.Run(async () =>
        {
            var random = new Random(seed + process);
            var table = process % 2 == 0 ? cluster.First : cluster.Second;
            var all = await history.ReadAsync(process, null, () => table.ReadAllAsync());
            for (var step = 0; step < StepsOfEach; step++)
            {
                var silo = random.Next(SilosInPlay);
                if (random.Next(4) == 0)
                    await history.ReadAsync(process, silo, () => table.ReadRowAsync(Silos.Address(silo)));
                if (random.Next(4) != 0)
                    all = await history.ReadAsync(process, null, () => table.ReadAllAsync());
                await WriteAsync(history, table, process, silo, all, $"{process}-{step}");
            }
        })));
        var steps = history.Steps.ToImmutableList();
        var writes = steps.Where(step => step.Seen is null).ToList();
        // A run in which nobody met anybody shows nothing.
        Assert.True(steps.Count >= Processes * StepsOfEach && writes.Count(step => step.Won) >= 20 && writes.Count(step => !step.Won) >= 20, $"seed {seed}: too little happened");
        return steps;
    }

    private static async Task WriteAsync(TableHistory history, EtcdMembershipTable table, int process, int silo, MembershipTableData read, string text)
    {
        var entry = Silos.Entry(silo);
        entry.SiloName = text;
        var row = read.Members.SingleOrDefault(member => member.Item1.SiloAddress.Equals(entry.SiloAddress));
        await history.WriteAsync(process, silo, read.Version.Version, row?.Item1.SiloName, text, () =>
            row is null ? table.InsertRowAsync(entry, read.Version.Next()) : table.UpdateRowAsync(entry, row.Item2, read.Version.Next()));
    }

    private static TableHistory.Step Corrupt(TableHistory.Step step, Random random)
    {
        if (step.Seen is not { } seen)
            return step with { Won = !step.Won };
        return random.Next(2) == 0 || seen.Rows.IsEmpty
            // Far off: the row of one silo may well be the same one version later.
            ? step with { Seen = seen with { Version = seen.Version + 1000 } }
            : step with { Seen = seen with { Rows = seen.Rows.SetItem(seen.Rows.Keys.First(), "nobody's") } };
    }
}

[Trait("Category", "Long")]
public sealed class TableLinearizabilityOn34(SharedEtcd34 etcd) : TableLinearizabilityTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class TableLinearizabilityOn35(SharedEtcd35 etcd) : TableLinearizabilityTests(etcd), IClassFixture<SharedEtcd35>;

/// <summary>The checker on histories written by hand: it must know right from wrong before it is asked about a table.</summary>
public sealed class LinearizabilityTests
{
    [Fact]
    public void ReadAfterAWrite_MustSeeIt()
    {
        Assert.True(TableHistory.IsLinearizable([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 1, "a")]));
        Assert.False(TableHistory.IsLinearizable([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 0)]));
    }

    [Fact]
    public void ReadDuringAWrite_MaySeeItOrNot_ButNotGoBack()
    {
        Assert.True(TableHistory.IsLinearizable([Write(0, 1, 6, 0, "a", won: true), Read(1, 2, 3, 0), Read(2, 4, 5, 1, "a")]));
        Assert.False(TableHistory.IsLinearizable([Write(0, 1, 6, 0, "a", won: true), Read(1, 2, 3, 1, "a"), Read(2, 4, 5, 0)]));
    }

    [Fact]
    public void TornView_IsRejected() =>
        Assert.False(TableHistory.IsLinearizable([Write(0, 1, 2, 0, "a", won: true), Read(1, 3, 4, 1)]));

    [Fact]
    public void TwoWinnersOfOneVersion_AreRejected()
    {
        Assert.True(TableHistory.IsLinearizable([Write(0, 1, 4, 0, "a", won: true), Write(1, 2, 3, 0, "b", won: false)]));
        Assert.False(TableHistory.IsLinearizable([Write(0, 1, 4, 0, "a", won: true), Write(1, 2, 3, 0, "b", won: true)]));
    }

    [Fact]
    public void FalseWithoutAConflict_IsRejected() =>
        Assert.False(TableHistory.IsLinearizable([Write(0, 1, 2, 0, "a", won: false)]));

    private static TableHistory.Step Write(int process, long asked, long answered, int over, string text, bool won) =>
        new(process, asked, answered) { Silo = 0, BaseVersion = over, Written = text, Won = won };

    private static TableHistory.Step Read(int process, long asked, long answered, int version, string? row = null) =>
        new(process, asked, answered) { Seen = TableState.Empty with { Version = version, Rows = row is null ? TableState.Empty.Rows : TableState.Empty.Rows.Add(0, row) } };
}
