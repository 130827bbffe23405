using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>What is said of calls that hang and of what does not work in time, on histories written by hand: faults end after 20 s, the run after 120 s.</summary>
public sealed class WorkCheckerTests
{
    private const long Second = 1_000_000;
    private const long Healed = 20 * Second, Ended = 120 * Second;
    private const string Capability = "works";

    private static readonly Fault[] Nothing = [], Member = [new Kill(0)], Silo = [new KillSilo(0)];

    [Fact]
    public void WhatAlwaysWorks_IsAccepted_WhateverWasDone()
    {
        foreach (var kind in Enum.GetValues<ScheduleKind>())
            Assert.Empty(Check(Working(), kind, Member));
    }

    [Fact]
    public void AwayDuringFaults_IsFound_WhereOneMemberAtMostIsAway()
    {
        foreach (var (kind, faults, found) in new[] { (ScheduleKind.Member, Member, 1), (ScheduleKind.Control, Nothing, 1), (ScheduleKind.Random, Member, 0) })
        {
            Assert.Equal(found, Check(Working(awayFrom: 5, to: 11), kind, faults).Count);
            Assert.Empty(Check(Working(awayFrom: 5, to: 10), kind, faults));
        }
    }

    [Fact]
    public void AwayAfterFaults_IsFound_AtOnceOrLater()
    {
        Assert.Single(Check(Working(awayFrom: 19, to: 27), ScheduleKind.Random, Member));
        Assert.Single(Check(Working(awayFrom: 60, to: 66), ScheduleKind.Random, Member));
        Assert.Empty(Check(Working(awayFrom: 15, to: 25), ScheduleKind.Random, Member));
        Assert.Contains("never worked again", Assert.Single(Check(Working(awayFrom: 19, to: 130), ScheduleKind.Random, Member)), StringComparison.Ordinal);
    }

    [Fact]
    public void SiloAttacked_GivesMoreTime_OnlyToWhatAsksSilos()
    {
        var away = Working(awayFrom: 20, to: 60);
        Assert.Empty(Check(away, ScheduleKind.Random, Silo, asksSilos: true));
        Assert.Single(Check(away, ScheduleKind.Random, Silo, asksSilos: false));
        Assert.Single(Check(Working(awayFrom: 20, to: 66), ScheduleKind.Random, Silo, asksSilos: true));
    }

    [Fact]
    public void EtcdItselfAway_GivesAsMuchMoreTime_AsAnElectionDoesNotTake()
    {
        // 4 s, of which an election that succeeds at once takes 2.
        var etcd = Working(awayFrom: 20, to: 24);
        Assert.Empty(Check(Working(awayFrom: 20, to: 27), ScheduleKind.Random, Member, etcd: etcd));
        Assert.Single(Check(Working(awayFrom: 20, to: 28), ScheduleKind.Random, Member, etcd: etcd));
        // Elsewhere in time it excuses nothing.
        Assert.Single(Check(Working(awayFrom: 20, to: 27), ScheduleKind.Random, Member, etcd: Working(awayFrom: 5, to: 9)));
    }

    [Fact]
    public void FailureWithoutFaults_IsFound_WhileTheRunGoesOn()
    {
        Assert.Single(Check(Failing(10 * Second), ScheduleKind.Control, Nothing));
        Assert.Empty(Check(Failing(Ended + 1), ScheduleKind.Control, Nothing));
        Assert.Empty(Check(Failing(10 * Second), ScheduleKind.Random, Member));

        static History Failing(long at)
        {
            var history = Working();
            history.Add(new Step(0, "asked once") { Invoked = at, Ended = at, Outcome = Outcome.Fail });
            return history;
        }
    }

    [Fact]
    public async Task CallThatHangs_IsFound_AndOneThatOrleansEnded_UnlessItWentWithItsSilo()
    {
        var hung = Working();
        await hung.RunAsync(new Step(0, "asked once"), TimeSpan.FromSeconds(0.1), async _ =>
        {
            await Task.Delay(TimeSpan.FromSeconds(1.3), CancellationToken.None);
            return new Step(0, "asked once");
        });
        Assert.Single(Check(hung, ScheduleKind.Random, Silo));
        var lost = Working();
        await lost.RunAsync(new Step(0, "asked once"), TimeSpan.FromSeconds(1), _ => Task.FromException<Step>(new TimeoutException()));
        Assert.Single(Check(lost, ScheduleKind.Random, Member));
        Assert.Single(Check(lost, ScheduleKind.Random, Silo, asksSilos: false));
        Assert.Empty(Check(lost, ScheduleKind.Random, Silo, asksSilos: true));
    }

    /// <summary>Works once a second, but not in between.</summary>
    private static History Working(int awayFrom = int.MaxValue, int to = int.MaxValue)
    {
        var history = new History("history");
        history.Expect(Capability);
        for (var second = 0; second <= Ended / Second; second++)
        {
            if (second <= awayFrom || second >= to)
                history.Add(new Step(0, Capability) { Ended = second * Second });
        }

        return history;
    }

    private static IReadOnlyList<string> Check(History history, ScheduleKind kind, Fault[] faults, bool asksSilos = true, History? etcd = null)
    {
        var schedule = new Schedule(kind, [.. faults.Select(fault => new ScheduledFault(TimeSpan.Zero, TimeSpan.FromSeconds(20), fault))], TimeSpan.FromSeconds(20));
        var findings = new Findings();
        WorkChecker.Check(history, new RunTimes(schedule, etcd ?? Working(), 0, Healed, Ended), asksSilos, findings);
        return findings.Violations;
    }
}
