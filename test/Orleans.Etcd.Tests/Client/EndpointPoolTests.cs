using Microsoft.Extensions.Time.Testing;
using Orleans.Configuration;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>Where calls go after a failure, and after an answer.</summary>
public sealed class EndpointPoolTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly EndpointPool _pool;

    public EndpointPoolTests() => _pool = new(new EtcdOptions { Endpoints = ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"] }, _time);

    public void Dispose() => _pool.Dispose();

    [Fact]
    public void After_NothingRecovered_IsTheOneInUse()
    {
        var sent = Now();
        Assert.Equal((_pool.Current, false), _pool.After(sent));
    }

    [Fact]
    public void After_OneAnswersAgainAndTheOneInUseIsSilent_AllGoThere()
    {
        var first = _pool.Current;
        var sent = Now();
        _pool.Fail(first, hung: true);
        var second = _pool.Current;
        Assert.NotEqual(first, second);
        Now();
        _pool.Succeed(first);
        Assert.Equal((first, true), _pool.After(sent));
        Assert.Equal(first, _pool.Current);
        // What is sent from here on has no reason to go anywhere else.
        Assert.Equal((first, false), _pool.After(Now()));
        // The one that was left comes last.
        _pool.Fail(first, hung: false);
        Assert.NotEqual(second, _pool.Current);
    }

    [Fact]
    public void After_TheOneInUseGaveASign_OthersStayThere()
    {
        var first = _pool.Current;
        var sent = Now();
        _pool.Fail(first, hung: true);
        var second = _pool.Current;
        Now();
        _pool.NoteSign(second);
        _pool.Succeed(first);
        Assert.Equal((first, false), _pool.After(sent));
        Assert.Equal(second, _pool.Current);
    }

    /// <summary>It answered after the call was sent, and then failed: calls do not go back to it.</summary>
    [Fact]
    public void After_OneThatAnsweredHasFailedSince_IsNotAsked()
    {
        var first = _pool.Current;
        var sent = Now();
        _pool.Succeed(first);
        _pool.Fail(first, hung: false);
        Assert.NotEqual(first, _pool.After(sent).Endpoint);
        Assert.NotEqual(first, _pool.Current);
    }

    [Fact]
    public void Recovered_CompletesAfterAFailureAndAfterAWhile_AndNotWithEveryAnswer()
    {
        var recovered = _pool.Recovered;
        _pool.Succeed(_pool.Current);
        Assert.False(recovered.IsCompleted);
        _pool.Fail(_pool.Current, hung: true);
        _pool.Succeed(_pool.Current);
        Assert.False(recovered.IsCompleted, "another member had failed");
        _time.Advance(TimeSpan.FromSeconds(1));
        _pool.Succeed(_pool.Current);
        Assert.True(recovered.IsCompleted, "there was no answer for a while");
        recovered = _pool.Recovered;
        var failed = _pool.Current;
        _pool.Fail(failed, hung: true);
        _pool.Succeed(failed);
        Assert.True(recovered.IsCompleted, "it had failed");
    }

    private long Now()
    {
        _time.Advance(TimeSpan.FromMilliseconds(1));
        return _time.GetTimestamp();
    }
}
