using System.Collections.Immutable;
using Orleans.Configuration;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Workloads;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>A real history of a table, and the same with one step falsified: the first is accepted, and none of the others.</summary>
public sealed class RecordedTableTests
{
    private const int Processes = 8;
    private const int StepsOfEach = 40;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task CorruptedHistories_AreRejected()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        var steps = await RecordAsync(server);
        Assert.Equal(Verdict.Holds, TableChecker.Check(steps));
        var random = new Random(2);
        for (var i = 0; i < 25; i++)
        {
            var at = random.Next(steps.Count);
            var corrupted = steps.SetItem(at, Corrupt(steps[at], random));
            Assert.True(TableChecker.Check(corrupted) == Verdict.Broken, $"accepted {corrupted[at]} in place of {steps[at]}");
        }
    }

    private static async Task<ImmutableList<TableStep>> RecordAsync(EtcdServer server)
    {
        var cluster = new ClusterOptions { ServiceId = "service", ClusterId = "cluster" };
        await using var one = server.Connect();
        await using var other = server.Connect();
        await using var first = one.Table(cluster);
        await using var second = other.Table(cluster);
        await first.InitializeMembershipTableAsync(true);
        await second.InitializeMembershipTableAsync(true);
        var history = new History("table");
        await Task.WhenAll(Enumerable.Range(0, Processes).Select(process => Task.Run(async () =>
        {
            var random = new Random(process);
            var table = process % 2 == 0 ? first : second;
            for (var step = 0; step < StepsOfEach; step++)
                await TableSteps.ReadAndWriteAsync(history, table, process % 2, process, random.Next(4), $"{process}-{step}", SiloStatus.Active, random.Next(4) == 0, Timeout);
        })));
        var steps = history.Steps.OfType<TableStep>().ToImmutableList();
        // A run in which nobody met anybody shows nothing.
        Assert.True(steps.Count(step => step is { Seen: null, Won: true }) >= 20 && steps.Count(step => step is { Seen: null, Won: false }) >= 20, "too little happened");
        return steps;
    }

    private static TableStep Corrupt(TableStep step, Random random)
    {
        if (step.Seen is not { } seen)
            return step with { Won = !step.Won };
        return random.Next(2) == 0 || seen.Rows.IsEmpty
            // Far off: the row of one silo may well be the same one version later.
            ? step with { Seen = seen with { Version = seen.Version + 1000 } }
            : step with { Seen = seen with { Rows = seen.Rows.SetItem(seen.Rows.Keys.First(), "nobody's") } };
    }
}
