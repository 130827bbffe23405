using Grpc.Core;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>When a call is sent again: with three members and a timeout of 5 s where nothing else is said.</summary>
public sealed class RetryBudgetTests
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(5);
    private static readonly CallFailure Silence = CallFailure.Silence(TimeSpan.FromSeconds(1.5), exception: null);

    [Fact]
    public void Silence_OfOneOfSeveral_IsFollowedByAnotherAttempt_WhileThatMayBeAnswered()
    {
        var budget = new RetryBudget(3);
        for (var elapsed = 1.5; elapsed <= 9; elapsed += 1.5)
            Assert.Equal(TimeSpan.Zero, budget.Next(Silence, TimeSpan.FromSeconds(elapsed), Timeout));
        Assert.Null(budget.Next(Silence, TimeSpan.FromSeconds(9.4), Timeout));
        Assert.Null(budget.Next(Silence, TimeSpan.FromSeconds(10), Timeout));
    }

    [Fact]
    public void Silence_OfASingleMember_IsTheEnd_ButOnceForACallThatInsists()
    {
        Assert.Null(new RetryBudget(1).Next(Silence, Timeout, Timeout));
        var budget = new RetryBudget(1);
        Assert.Equal(TimeSpan.Zero, budget.Next(Silence, Timeout, Timeout, insists: true));
        Assert.Null(budget.Next(Silence, TimeSpan.FromSeconds(6), Timeout, insists: true));
    }

    /// <summary>What is answered at once, be it that something took too long, would otherwise be asked again and again.</summary>
    [Theory]
    [InlineData(StatusCode.Unavailable, "etcdserver: request timed out")]
    [InlineData(StatusCode.DeadlineExceeded, "too late")]
    [InlineData(StatusCode.Unavailable, "etcdserver: leader changed")]
    [InlineData(StatusCode.Unknown, "raft proposal dropped")]
    public void Refusals_GoRoundOnce_AndThenPauseLongerAndLonger_ForTheTimeOfOneTimeout(StatusCode code, string detail)
    {
        var refusal = CallFailure.Classify(new RpcException(new Status(code, detail)));
        Assert.True(refusal.TryElsewhere);
        Assert.False(refusal.IsSilence);
        var budget = new RetryBudget(3);
        var (attempts, paused) = (1, TimeSpan.Zero);
        while (budget.Next(refusal, paused, Timeout) is { } pause)
        {
            Assert.Equal(attempts % 3 != 0, pause == TimeSpan.Zero);
            paused += pause;
            attempts++;
        }

        Assert.InRange(paused, TimeSpan.FromSeconds(4), Timeout);
        Assert.InRange(attempts, 3 * 10, 3 * 40);
    }

    /// <summary>Dropped by a leader that hands over: nobody has it.</summary>
    [Fact]
    public void ProposalDropped_WasSurelyNotApplied() =>
        Assert.False(CallFailure.Classify(new RpcException(new Status(StatusCode.Unknown, "raft proposal dropped"))).MayBeApplied);

    /// <summary>A proxy, or another program on that port: HTTP 404, 500, 401 and 403.</summary>
    [Theory]
    [InlineData(StatusCode.Unimplemented, false)]
    [InlineData(StatusCode.Unknown, true)]
    [InlineData(StatusCode.Unauthenticated, true)]
    [InlineData(StatusCode.PermissionDenied, true)]
    public void AnswerOfWhatIsNotEtcd_SendsCallsElsewhere(StatusCode code, bool mayBeApplied)
    {
        var failure = CallFailure.Classify(new RpcException(new Status(code, "Bad gRPC response. HTTP status code: 4711")));
        Assert.True(failure.TryElsewhere);
        Assert.False(failure.BlamesToken);
        Assert.Equal(mayBeApplied, failure.MayBeApplied);
    }

    [Theory]
    [InlineData(StatusCode.PermissionDenied, "etcdserver: permission denied", true)]
    [InlineData(StatusCode.NotFound, "etcdserver: requested lease not found", true)]
    [InlineData(StatusCode.FailedPrecondition, "etcdserver: lease already exists", true)]
    [InlineData(StatusCode.ResourceExhausted, "etcdserver: too many requests", false)]
    [InlineData(StatusCode.Internal, "whatever", false)]
    [InlineData(StatusCode.Unavailable, "etcdserver: no leader", false)]
    public void LastWords_AreWhatNoOtherAttemptCanChange(StatusCode code, string detail, bool isLast) =>
        Assert.Equal(isLast, CallFailure.Classify(new RpcException(new Status(code, detail))).IsLastWord);
}
