using Orleans.Etcd.FaultTests.Histories;
using Xunit;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>What is said of how long something was away, on histories written by hand, and of calls that do not end.</summary>
public sealed class HistoryTests
{
    private const string One = "one", Other = "other";

    [Fact]
    public void Outage_IsThatOfEachCapability_AndOthersDoNotHideIt()
    {
        var history = Recorded((One, 1), (One, 3), (Other, 2), (One, 5), (One, 7), (One, 9), (Other, 9));
        Assert.Equal(TimeSpan.FromSeconds(7), history.LongestOutage(0, 10_000_000));
        // One that does not work at all.
        Assert.Equal(TimeSpan.FromSeconds(10), Recorded((One, 1), (One, 9)).LongestOutage(0, 10_000_000));
        // What is asked too rarely is not expected.
        var rare = Recorded((One, 1), (One, 2), (Other, 1), (Other, 2));
        rare.Add(new Step(0, "rare") { Ended = 1 });
        Assert.Equal(TimeSpan.FromSeconds(1), rare.LongestOutage(0, 2_000_000));
    }

    [Theory]
    [InlineData(10, 100, 40, new long[] { 20, 60, 90 })]
    [InlineData(10, 100, 90, new long[] { })]
    [InlineData(10, 100, 70, new long[] { 5, 80, 120 })]
    public void Outage_IsTheLongestTimeWithoutASuccess(long from, long to, long outage, long[] successes)
    {
        var history = new History("one");
        history.Expect(One);
        foreach (var at in successes)
            history.Add(new Step(0, One) { Ended = at });
        Assert.Equal(TimeSpan.FromMicroseconds(outage), history.LongestOutage(from, to));
    }

    [Fact]
    public void Recovery_IsThatOfTheLast_AndOfNoneWhereOneDoesNotWork()
    {
        var history = Recorded((One, 1), (Other, 1), (One, 6), (One, 7), (Other, 8));
        Assert.Equal(TimeSpan.FromSeconds(3), history.RecoveredAfter(5_000_000));
        Assert.Null(history.RecoveredAfter(7_500_000));
        history.Add(new Step(0, One) { Ended = 9_000_000, Outcome = Outcome.Fail });
        Assert.Null(history.RecoveredAfter(7_500_000));
    }

    [Fact]
    public async Task CallsThatEndTooLate_OrByOrleans_AreToldApart_WaitedForOrNot()
    {
        var history = new History("calls");
        await Run(TimeSpan.FromSeconds(1.5), TimeSpan.Zero);
        Assert.Empty(history.Hung);
        await Run(TimeSpan.FromSeconds(0.1), TimeSpan.FromSeconds(1.3));
        Assert.Single(history.Hung);
        // Its asker went on, and it is followed to its end.
        await Run(TimeSpan.FromSeconds(0.1), TimeSpan.FromSeconds(1.3), patience: TimeSpan.FromMilliseconds(10));
        await history.FinishAsync();
        Assert.Equal(2, history.Hung.Count);
        Assert.Empty(history.Lost);
        await Run(TimeSpan.FromSeconds(1.5), TimeSpan.Zero, new TimeoutException());
        Assert.Single(history.Lost);
        var refused = await Run(TimeSpan.FromSeconds(1.5), TimeSpan.Zero, new EtcdException(EtcdErrorCode.Unavailable, "Put", "refused", outcomeUnknown: false));
        Assert.Equal(Outcome.Fail, refused.Outcome);
        await Assert.ThrowsAsync<InvalidOperationException>(() => Run(TimeSpan.FromSeconds(1.5), TimeSpan.Zero, new InvalidOperationException()));
        // Also where nobody waited for it any more.
        await Run(TimeSpan.FromSeconds(1.5), TimeSpan.FromSeconds(0.1), new InvalidOperationException(), TimeSpan.FromMilliseconds(10));
        await history.FinishAsync();
        Assert.Equal(3, history.Hung.Count);

        Task<Step> Run(TimeSpan timeout, TimeSpan takes, Exception? exception = null, TimeSpan? patience = null) => history.RunAsync(new Step(0, One), timeout, async _ =>
        {
            await Task.Delay(takes, CancellationToken.None);
            return exception is null ? new Step(0, One) : throw exception;
        }, patience);
    }

    private static History Recorded(params (string Capability, int Second)[] steps)
    {
        var history = new History("steps");
        history.Expect(One);
        history.Expect(Other);
        foreach (var (capability, second) in steps)
            history.Add(new Step(0, capability) { Ended = second * 1_000_000L });
        return history;
    }
}
