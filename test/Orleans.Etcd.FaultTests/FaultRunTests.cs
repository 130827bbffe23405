using System.Globalization;
using Orleans.Etcd.FaultTests.Runs;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.FaultTests;

/// <summary>Which runs are made: some with fixed seeds, and some with seeds that nobody has seen.</summary>
/// <remarks>
/// ORLEANS_ETCD_FAULT_RUNS is how many runs each version of etcd gets, ORLEANS_ETCD_FAULT_SEED the first seed: with the seed that a
/// report names, and 1 as the number, its faults come again. The kind of a run follows from its seed.
/// </remarks>
internal static class Plan
{
    /// <summary>How long faults come.</summary>
    public static readonly TimeSpan Length = TimeSpan.FromSeconds(10);

    public const int Silos = 3;

    public static TheoryData<int> Seeds(int lane)
    {
        var count = Number("ORLEANS_ETCD_FAULT_RUNS") ?? 10;
        var first = Number("ORLEANS_ETCD_FAULT_SEED");
        var seeds = new TheoryData<int>();
        // Without a seed given: fixed ones, the last one fresh.
        for (var i = 0; i < count; i++)
            seeds.Add(first is { } given ? given + (i * 2) : i < count - 1 ? (i * 2) + lane : Random.Shared.Next(1_000_000));
        return seeds;
    }

    /// <summary>Half are random; of each ten, one is without any fault, two lose one member, one has one fault at a time, one two.</summary>
    public static ScheduleKind KindOf(int seed) => (seed / 2 % 10) switch
    {
        0 => ScheduleKind.Control,
        1 or 2 => ScheduleKind.Member,
        3 => ScheduleKind.One,
        4 => ScheduleKind.Two,
        _ => ScheduleKind.Random,
    };

    public static Schedule ScheduleOf(int seed) => Schedule.Of(KindOf(seed), seed, Silos, Length);

    private static int? Number(string variable) => int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out var number) ? number : null;
}

/// <summary>A deployment for many runs; one that a run has broken is replaced.</summary>
public abstract class DeploymentFixture(string version, TheoryData<int> seeds) : IAsyncLifetime
{
    private readonly bool _withClock = seeds.Any((object[] row) => Plan.ScheduleOf((int)row[0]).Faults.Any(fault => fault.Fault is ClockJump));
    private Deployment? _deployment;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_deployment is not null)
            await _deployment.DisposeAsync();
    }

    internal async Task<RunReport> RunAsync(int seed)
    {
        _deployment ??= await Deployment.StartAsync(version, Plan.Silos, _withClock, Environment.GetEnvironmentVariable("ORLEANS_ETCD_FAULT_NETWORK") == "loopback");
        RunReport? report = null;
        try
        {
            report = await FaultRun.RunAsync(_deployment, seed, Plan.ScheduleOf(seed));
            report.Save();
            return report;
        }
        finally
        {
            if (report?.Verdict != "pass")
            {
                await _deployment.DisposeAsync();
                _deployment = null;
            }
        }
    }
}

public sealed class DeploymentOn34() : DeploymentFixture("3.4", FaultRunsOn34.Seeds);

public sealed class DeploymentOn35() : DeploymentFixture("3.5", FaultRunsOn35.Seeds);

/// <summary>Nothing that the library promises breaks while etcd and silos are killed, frozen and cut off.</summary>
[Trait("Category", "Faults")]
public sealed class FaultRunsOn34(DeploymentOn34 deployment, ITestOutputHelper output) : IClassFixture<DeploymentOn34>
{
    public static TheoryData<int> Seeds { get; } = Plan.Seeds(0);

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Invariants_Hold(int seed)
    {
        var report = await deployment.RunAsync(seed);
        output.WriteLine(report.ToString());
        Assert.True(report.Verdict == "pass", report.ToString());
    }
}

/// <inheritdoc cref="FaultRunsOn34" />
[Trait("Category", "Faults")]
public sealed class FaultRunsOn35(DeploymentOn35 deployment, ITestOutputHelper output) : IClassFixture<DeploymentOn35>
{
    public static TheoryData<int> Seeds { get; } = Plan.Seeds(1);

    [Theory]
    [MemberData(nameof(Seeds))]
    public async Task Invariants_Hold(int seed)
    {
        var report = await deployment.RunAsync(seed);
        output.WriteLine(report.ToString());
        Assert.True(report.Verdict == "pass", report.ToString());
    }
}
