using Etcdserverpb;
using Google.Protobuf;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>Transactions that are sent together, and what that changes for each of them: nothing.</summary>
public abstract class GroupCommitTests(SharedEtcd shared) : IAsyncLifetime
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(2);

    private readonly string _prefix = shared.NewPrefix();
    private TcpProxy _proxy = null!;
    private EtcdConnection _etcd = null!;
    private GroupCommit _commits = null!;

    public async Task InitializeAsync()
    {
        _proxy = TcpProxy.Start(shared.Server.Endpoint);
        _etcd = shared.Server.Connect(options => options.RequestTimeout = Timeout, through: _proxy.Endpoint);
        _commits = new GroupCommit(_etcd);
        await _etcd.GetAsync(_prefix);
    }

    public async Task DisposeAsync()
    {
        await _etcd.DisposeAsync();
        await _proxy.DisposeAsync();
    }

    [Fact]
    public async Task ManyOfDifferentLanes_AreFewRequests_WithAnAnswerEach()
    {
        var before = await TxnsAsync();
        var answers = await TogetherAsync(300, i => ($"lane {i}", Make(i)));
        Assert.InRange(await TxnsAsync() - before, 5, 20);
        for (var i = 0; i < answers.Length; i++)
        {
            Assert.True(answers[i].Succeeded);
            Assert.Equal((await _etcd.GetAsync($"{_prefix}{i}"))!.CreateRevision, answers[i].Header.Revision);
            Assert.Equal($"{i}", Assert.Single(answers[i].Responses[1].ResponseRange.Kvs).Value.ToStringUtf8());
        }
    }

    [Fact]
    public async Task OfOneLane_NoTwoHaveOneRevision()
    {
        var answers = await TogetherAsync(200, i => ($"lane {i % 2}", Make(i)));
        for (var lane = 0; lane < 2; lane++)
        {
            var revisions = answers.Where((_, i) => i % 2 == lane).Select(answer => answer.Header.Revision).ToArray();
            Assert.Equal(revisions.Distinct(), revisions);
        }

        Assert.True(answers.Select(answer => answer.Header.Revision).Distinct().Count() < answers.Length, "none were sent together");
    }

    [Theory]
    [InlineData(1, 16)]
    [InlineData(2, 28)]
    [InlineData(100, 4)]
    public async Task WhileNothingIsAnswered_MoreAreUnderWayOfABusyLaneThanOfMany(int lanes, int underWay)
    {
        await using var beside = shared.Server.Connect();
        _proxy.StallAnswers();
        var asked = Enumerable.Range(0, 100).Select(i => RunAsync($"lane {i % lanes}", Make(i))).ToArray();
        await Task.Delay(Timeout / 2);
        var made = await beside.RangeAsync(Txn.Range(_prefix));
        _proxy.Pass();
        Assert.Equal(underWay, made.Kvs.Count);
        Assert.All(await Task.WhenAll(asked), answer => Assert.True(answer.Answer!.Succeeded || answer.Answer.Responses[1].ResponseRange.Kvs.Count == 1));
    }

    /// <summary>A lane that keeps more under way than others may keeps none of them waiting, nor the first of its own.</summary>
    [Fact]
    public async Task WhoHasWaitedLongest_GoesWithTheNextThatIsSent()
    {
        await using var beside = shared.Server.Connect();
        _proxy.StallAnswers();
        var asked = Enumerable.Range(0, 10).Select(i => RunAsync("busy", Make(i))).ToList();
        asked.Add(RunAsync("other", Make(10)));
        asked.Add(RunAsync("busy", Make(11)));
        await Task.Delay(Timeout / 2);
        var made = await beside.RangeAsync(Txn.Range(_prefix));
        _proxy.Pass();
        // The last one of the busy lane waits.
        Assert.Equal(Enumerable.Range(0, 11).Select(i => $"{i}"), made.Kvs.Select(kv => kv.Value.ToStringUtf8()).OrderBy(int.Parse));
        await Task.WhenAll(asked);
    }

    [Fact]
    public async Task ManyLanesBehindABusyOne_AreFewRequests()
    {
        var before = await TxnsAsync();
        await TogetherAsync(320, i => (i < 20 ? "busy" : $"lane {i}", Make(i)));
        Assert.InRange(await TxnsAsync() - before, 20, 30);
    }

    [Fact]
    public async Task OneThatEtcdRefuses_FailsAlone()
    {
        var answers = await Task.WhenAll(await StartAsync(60, i => ($"lane {i}", Make(i, lease: i == 30 ? 12345 : 0))));
        for (var i = 0; i < answers.Length; i++)
        {
            if (i == 30)
                Assert.Equal(EtcdErrorCode.LeaseNotFound, Assert.IsType<EtcdException>(answers[i].Exception).Code);
            else
                Assert.True(answers[i].Answer!.Succeeded);
        }

        Assert.Null(await _etcd.GetAsync($"{_prefix}30"));
    }

    [Fact]
    public async Task LargeOnes_AreNotTooManyTogether()
    {
        var before = await TxnsAsync();
        var answers = await TogetherAsync(100, i =>
        {
            var large = Make(i);
            for (var more = 0; more < 100; more++)
                large.Compare.Add(Txn.CreateRevisionIs(Key($"none {i} {more}"), 0));
            return ($"lane {i}", large);
        });
        Assert.All(answers, answer => Assert.True(answer.Succeeded));
        // None of them was sent twice for being refused.
        Assert.InRange(await TxnsAsync() - before, 6, 10);
    }

    [Fact]
    public async Task AnswersThatAreLost_AreAskedForAgain_AndNothingIsDoneTwice()
    {
        _proxy.StallAnswers();
        var asked = Enumerable.Range(0, 100).Select(i => RunAsync($"lane {i}", Make(i))).ToArray();
        await Task.Delay(200);
        _proxy.BreakAll();
        _proxy.Pass();
        var answers = await Task.WhenAll(asked);
        for (var i = 0; i < answers.Length; i++)
        {
            var answer = answers[i].Answer;
            Assert.True(answer is not null, $"{answers[i].Exception}");
            Assert.Equal($"{i}", answer.Responses[1].ResponseRange.Kvs.Single().Value.ToStringUtf8());
            Assert.Equal(1, (await _etcd.GetAsync($"{_prefix}{i}"))!.Version);
        }
    }

    [Fact]
    public async Task WhileEtcdDoesNotAnswer_NobodyWaitsForMoreThanTwoCalls()
    {
        const int MostUnderWay = 4, MostInGroup = 64;
        _proxy.Stall();
        var sent = 0;
        var answers = await Task.WhenAll(Enumerable.Range(0, 2000).Select(i => RunAsync($"lane {i}", Make(i), () => Interlocked.Increment(ref sent))));
        Assert.All(answers, answer => Assert.Contains(Assert.IsType<EtcdException>(answer.Exception).Code, new[] { EtcdErrorCode.Timeout, EtcdErrorCode.Unavailable }));
        // Those that were sent at once, and a group after each of them: by then all have waited for a call's time, and go with those.
        Assert.InRange(sent, MostUnderWay + 1, MostUnderWay + (MostUnderWay * MostInGroup));
        _proxy.Pass();
        Assert.True((await _commits.TxnRepeatablyAsync("lane", Make(5000))).Succeeded);
    }

    [Fact]
    public async Task ConnectionThatIsClosed_FailsAll()
    {
        _proxy.Stall();
        var asked = Enumerable.Range(0, 200).Select(i => RunAsync($"lane {i}", Make(i))).ToArray();
        await _etcd.DisposeAsync();
        Assert.All(await Task.WhenAll(asked).WaitAsync(TimeSpan.FromSeconds(20)), answer => Assert.NotNull(answer.Exception));
    }

    private ByteString Key(string name) => ByteString.CopyFromUtf8(_prefix + name);

    private TxnRequest Make(int i, long lease = 0) => new()
    {
        Compare = { Txn.CreateRevisionIs(Key($"{i}"), 0) },
        Success = { Txn.Put(Key($"{i}"), ByteString.CopyFromUtf8($"{i}"), lease), Txn.Get(Key($"{i}")) },
        Failure = { Txn.Get(Key("none")), Txn.Get(Key($"{i}")) },
    };

    private Task<long> TxnsAsync() => Metrics.ReadAsync(shared.Server, "grpc_server_handled_total", "grpc_method=\"Txn\"");

    private async Task<TxnResponse[]> TogetherAsync(int count, Func<int, (string Lane, TxnRequest Txn)> next) =>
        [.. (await Task.WhenAll(await StartAsync(count, next))).Select(one => one.Answer ?? throw new InvalidOperationException("It failed.", one.Exception))];

    /// <summary>Asks for all before etcd hears of any.</summary>
    private async Task<Task<(TxnResponse? Answer, Exception? Exception)>[]> StartAsync(int count, Func<int, (string Lane, TxnRequest Txn)> next)
    {
        _proxy.Stall();
        var asked = Enumerable.Range(0, count).Select(i => RunAsync(next(i).Lane, next(i).Txn)).ToArray();
        await Task.Delay(50);
        _proxy.Pass();
        return asked;
    }

    private async Task<(TxnResponse? Answer, Exception? Exception)> RunAsync(string lane, TxnRequest txn, Action? unanswered = null)
    {
        try
        {
            return (await _commits.TxnRepeatablyAsync(lane, txn, unanswered), null);
        }
        catch (Exception exception)
        {
            return (null, exception);
        }
    }
}

[Trait("Category", "Long")]
public sealed class GroupCommitTestsOn34(SharedEtcd34 shared) : GroupCommitTests(shared), IClassFixture<SharedEtcd34>;

public sealed class GroupCommitTestsOn35(SharedEtcd35 shared) : GroupCommitTests(shared), IClassFixture<SharedEtcd35>;
