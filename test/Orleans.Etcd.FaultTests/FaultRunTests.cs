using System.Globalization;
using Orleans.Etcd.FaultTests.Runs;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.FaultTests;

/// <summary>Which runs are made: some with fixed seeds, and some with seeds that nobody has seen.</summary>
/// <remarks>
/// ORLEANS_ETCD_FAULT_RUNS is how many there are, ORLEANS_ETCD_FAULT_SEED the first seed: with the seed that a report names, and 1 as
/// the number, its faults come again. The version of etcd follows from the seed, 3.4 where it is even, and so does the kind of a run.
/// </remarks>
internal static class Plan
{
    /// <summary>How long faults come.</summary>
    public static readonly TimeSpan Length = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan LengthWithoutQuorum = TimeSpan.FromSeconds(62);

    public const int Silos = 5;

    // In the place of a second one without any fault.
    private const int WithoutQuorum = 40;

    public static TheoryData<int> Seeds(int lane)
    {
        var count = Number("ORLEANS_ETCD_FAULT_RUNS") ?? 20;
        // Without a seed given: fixed ones, on either version in turn and of every kind, and at last one that nobody has seen.
        var seeds = Number("ORLEANS_ETCD_FAULT_SEED") is { } first
            ? Enumerable.Range(first, count)
            : Enumerable.Range(0, count - 1).Select(static number => number == 10 ? WithoutQuorum : (2 * number) + (number % 2)).Append(count == 1 ? 0 : Fresh);
        return [.. seeds.Where(seed => seed % 2 == lane)];
    }

    /// <summary>
    /// Half are random; of each ten, one is without any fault, two lose one member, one has one fault at a time, one two. One in
    /// forty loses its quorum for a minute.
    /// </summary>
    public static ScheduleKind KindOf(int seed) => seed / 2 % 40 == 20 ? ScheduleKind.Quorum : (seed / 2 % 10) switch
    {
        0 => ScheduleKind.Control,
        1 or 2 => ScheduleKind.Member,
        3 => ScheduleKind.One,
        4 => ScheduleKind.Two,
        _ => ScheduleKind.Random,
    };

    public static Schedule ScheduleOf(int seed) => Schedule.Of(KindOf(seed), seed, Silos, KindOf(seed) == ScheduleKind.Quorum ? LengthWithoutQuorum : Length);

    // Of all lanes the same.
    private static readonly int Fresh = Random.Shared.Next(1_000_000);

    private static int? Number(string variable) => int.TryParse(Environment.GetEnvironmentVariable(variable), CultureInfo.InvariantCulture, out var number) ? number : null;
}

/// <summary>A deployment for many runs; one that a run has broken is replaced.</summary>
public abstract class DeploymentFixture(string version) : IAsyncLifetime
{
    private Deployment? _deployment;
    private const int Warm = 10;

    private Health? _first;
    private Health? _warm;
    private int _runs;

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        if (_deployment is not null)
            await _deployment.DisposeAsync();
    }

    /// <summary>Makes the run of a seed, and fails where it did not pass.</summary>
    public async Task PassesAsync(int seed, ITestOutputHelper output)
    {
        var report = await TryRunAsync(seed);
        try
        {
            report.Save();
        }
        finally
        {
            if (report.Verdict != "pass" && Interlocked.Exchange(ref _deployment, null) is { } broken)
            {
                (_runs, _first, _warm) = (0, null, null);
                await broken.DisposeAsync();
            }
        }

        output.WriteLine(report.ToString());
        Assert.True(report.Verdict == "pass", report.ToString());
    }

    private async Task<RunReport> TryRunAsync(int seed)
    {
        var schedule = Plan.ScheduleOf(seed);
        try
        {
            _deployment ??= await StartAsync();
            var report = await FaultRun.RunAsync(_deployment, seed, schedule);
            _runs++;
            if (report.Verdict != "pass")
                return report;
            return await WithHealthAsync(report, _deployment);
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return RunReport.NotMade(seed, schedule, version, exception, _deployment);
        }
    }

    /// <summary>
    /// After a run that is not judged: in that the processes compile what they run, which takes a machine with few cores so long that
    /// nothing else is quick meanwhile.
    /// </summary>
    private async Task<Deployment> StartAsync()
    {
        var deployment = await Deployment.StartAsync(version, Plan.Silos, Environment.GetEnvironmentVariable("ORLEANS_ETCD_FAULT_NETWORK") == "loopback");
        try
        {
            await FaultRun.RunAsync(deployment, 0, Schedule.Of(ScheduleKind.Control, 0, Plan.Silos, Plan.Length));
            return deployment;
        }
        catch
        {
            await deployment.DisposeAsync();
            throw;
        }
    }

    private async Task<RunReport> WithHealthAsync(RunReport report, Deployment deployment)
    {
        try
        {
            var health = await Health.OfAsync(deployment);
            _first ??= health;
            if (_runs == Warm)
                _warm = health;
            return report with { Health = health, RunsOfDeployment = _runs, Violations = [.. _warm is null ? health.GrownSince(_first) : health.GrownSince(_warm, isWarm: true)] };
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            return report with { Unknown = [$"what the deployment holds on to could not be told: {exception}"] };
        }
    }
}

public sealed class DeploymentOn34() : DeploymentFixture("3.4");

public sealed class DeploymentOn35() : DeploymentFixture("3.5");

/// <summary>Nothing that the library promises breaks while etcd and silos are killed, frozen and cut off.</summary>
[Trait("Category", "Faults")]
public sealed class FaultRunsOn34(DeploymentOn34 deployment, ITestOutputHelper output) : IClassFixture<DeploymentOn34>
{
    public static TheoryData<int> Seeds { get; } = Plan.Seeds(0);

    [Theory]
    [MemberData(nameof(Seeds))]
    public Task Invariants_Hold(int seed) => deployment.PassesAsync(seed, output);
}

/// <inheritdoc cref="FaultRunsOn34" />
[Trait("Category", "Faults")]
public sealed class FaultRunsOn35(DeploymentOn35 deployment, ITestOutputHelper output) : IClassFixture<DeploymentOn35>
{
    public static TheoryData<int> Seeds { get; } = Plan.Seeds(1);

    [Theory]
    [MemberData(nameof(Seeds))]
    public Task Invariants_Hold(int seed) => deployment.PassesAsync(seed, output);
}
