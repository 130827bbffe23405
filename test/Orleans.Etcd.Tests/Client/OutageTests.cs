using System.Diagnostics;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>Everything is down for a while. What counts is how soon calls succeed once etcd is back.</summary>
public sealed class OutageTests
{
    private static readonly TimeSpan Outage = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Recovery = TimeSpan.FromSeconds(3);

    [Fact]
    [Trait("Category", "Long")]
    public async Task Calls_OneServerBackAfterTenSeconds_SucceedWithinThree()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var connection = etcd.Connect();
        await AssertRecoveryAsync(connection, () => etcd.KillAsync(), () => etcd.RestartAsync());
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Calls_ThreeMembersBackAfterTenSeconds_SucceedWithinThree()
    {
        await using var cluster = await EtcdCluster.StartAsync();
        await using var connection = cluster.Connect();
        await AssertRecoveryAsync(connection, () => cluster.KillAsync(), () => cluster.RestartAsync());
    }

    /// <summary>
    /// gRPC's own limit on connecting left a channel "connecting" for good now and then when it ended in an outage. It ended
    /// once in a ConnectTimeout; here that is as often as can be.
    /// </summary>
    [Fact]
    public async Task Calls_RefusedForSeconds_SucceedSoonAfterOnEveryConnection()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var proxy = TcpProxy.Start(etcd.Endpoint);
        var connections = Enumerable.Range(0, 100).Select(_ => etcd.Connect(
            options =>
            {
                options.ConnectTimeout = TimeSpan.FromMilliseconds(50);
                options.MaxReconnectBackoff = TimeSpan.FromMilliseconds(100);
            },
            proxy.Endpoint)).ToArray();
        await Task.WhenAll(connections.Select(connection => connection.GetAsync("a")));
        proxy.Refuse();
        using var back = new CancellationTokenSource();
        var calling = connections.Select(connection => CallUntilAsync(connection, back.Token)).ToArray();
        await Task.Delay(Outage / 2);
        proxy.Pass();
        await back.CancelAsync();
        await Task.WhenAll(calling).WaitAsync(Recovery);
        foreach (var connection in connections)
            await connection.DisposeAsync();
    }

    /// <summary>What was sent on to a leader that dies is lost without a word, and so is every call to a member that froze.</summary>
    [Fact]
    public async Task Calls_ThatMayBeRepeated_DoNotWaitAWholeTimeoutForAMemberThatKeepsSilent()
    {
        await using var members = await SeveralMembers.StartAsync(2);
        members[0].Stall();
        var clock = Stopwatch.StartNew();
        await members.WriteRepeatablyAsync();
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(3));
        // What may not be repeated has all of its time.
        members[0].Stall();
        members[1].Stall();
        clock.Restart();
        var failed = await Assert.ThrowsAsync<EtcdException>(() => members.Connection.PutAsync("a", "3"));
        Assert.True(failed.OutcomeUnknown);
        Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(4.5), TimeSpan.FromSeconds(6.5));
    }

    /// <summary>One has lost what it sent on to a leader that is cut off, and that leader is asked next: the third has it before both have had their time.</summary>
    [Fact]
    public async Task Calls_ThatMayBeRepeated_SecondMemberKeepsSilentToo_AskTheThirdSooner()
    {
        var timeout = TimeSpan.FromSeconds(10);
        await using var members = await SeveralMembers.StartAsync(3, timeout);
        members[0].Stall();
        members[1].Stall();
        var clock = Stopwatch.StartNew();
        await members.WriteRepeatablyAsync();
        Assert.InRange(clock.Elapsed, timeout * 0.2, timeout * 0.35);
    }

    /// <summary>While a leader is elected, what goes to any member may be lost, or waits there for one: none is given up for another.</summary>
    [Theory]
    [InlineData(2.2, 0)]
    [InlineData(6.5, 2)]
    public async Task Calls_ThatMayBeRepeated_EndWithWhicheverMemberAnswersFirst(double afterSeconds, int place)
    {
        await using var members = await SeveralMembers.StartAsync(3);
        for (var i = 0; i < 3; i++)
            members[i].Stall();
        var after = TimeSpan.FromSeconds(afterSeconds);
        var clock = Stopwatch.StartNew();
        var calling = members.WriteRepeatablyAsync();
        await Task.Delay(after);
        members[place].Pass();
        await calling;
        Assert.InRange(clock.Elapsed, after, after + TimeSpan.FromSeconds(0.7));
    }

    /// <summary>The others keep silent while they elect a leader, and one that was killed goes on refusing: that is no reason to give the others up.</summary>
    [Fact]
    public async Task Calls_ThatMayBeRepeated_OneMemberRefusesAndTheOthersAreSilent_WaitForThoseToTheEnd()
    {
        await using var members = await SeveralMembers.StartAsync(3);
        members[0].Stall();
        members[1].Refuse();
        members[2].Stall();
        var clock = Stopwatch.StartNew();
        var calling = members.WriteRepeatablyAsync();
        await Task.Delay(TimeSpan.FromSeconds(8));
        members[2].Pass();
        await calling;
        Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(8), TimeSpan.FromSeconds(9));
    }

    /// <summary>
    /// What a member has sent on to a leader that froze is lost without a word. That others are answered again says so: it is sent
    /// once more then, and not when its time has come.
    /// </summary>
    [Fact]
    public async Task Calls_OthersAreAnsweredAgainAfterAnOutage_AreRepeatedAtOnce()
    {
        var timeout = TimeSpan.FromSeconds(10);
        await using var members = await SeveralMembers.StartAsync(2, timeout);
        members[0].Stall();
        var earlier = members.WriteRepeatablyAsync();
        await Task.Delay(timeout * 0.12);
        var later = members.WriteRepeatablyAsync();
        await Task.Delay(timeout * 0.02);
        // The first is sent to the other member after a fifth of the timeout, and the second would be 1.2 s after that.
        await earlier;
        var clock = Stopwatch.StartNew();
        await later;
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, timeout * 0.07);
    }

    /// <summary>When the time is nearly over nothing is begun that cannot be answered in it.</summary>
    [Fact]
    public async Task Calls_ToMembersThatKeepSilent_EndInTimeAndAfterFewAttempts()
    {
        await using var members = await SeveralMembers.StartAsync(2);
        members[0].Stall();
        members[1].Stall();
        var clock = Stopwatch.StartNew();
        var attempts = await AttemptsAsync("Txn", 20, () =>
            Assert.ThrowsAsync<EtcdException>(() => members.WriteRepeatablyAsync()));
        Assert.InRange(clock.Elapsed, TimeSpan.FromSeconds(9.5), TimeSpan.FromSeconds(10.5));
        // At 0, 1, 1.5, 3.5, 5.5 and 7.5 s.
        Assert.InRange(attempts, 20 * 5, 20 * 6);
    }

    /// <summary>A grant is asked for again where its answer did not come, and not where it was refused.</summary>
    [Fact]
    public async Task Grant_NoSpace_IsAskedForOnce()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var connection = etcd.Connect();
        await connection.PutAsync("a", "1");
        using var gateway = new JsonGateway(etcd.Endpoint);
        await gateway.SetNoSpaceAsync(true);
        var attempts = await AttemptsAsync("LeaseGrant", 1, () => Assert.ThrowsAsync<EtcdException>(() => connection.GrantAsync(new() { ID = 42, TTL = 5 }, CancellationToken.None)));
        Assert.Equal(1, attempts);
    }

    /// <summary>Watches pause for up to a second between attempts; a call that succeeds again says that they need not.</summary>
    [Fact]
    public async Task Watches_OutageOver_FollowAsSoonAsACallSucceeds()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var proxy = TcpProxy.Start(etcd.Endpoint);
        await using var connection = etcd.Connect(through: proxy.Endpoint);
        var watches = Enumerable.Range(0, 20).Select(i => new RangeWatch(connection, $"watched/{i}/")).ToArray();
        await Task.WhenAll(watches.Select(watch => watch.Batches.ReadAsync().AsTask()));
        proxy.Refuse();
        await Task.Delay(TimeSpan.FromSeconds(4));
        await Assert.ThrowsAsync<EtcdException>(() => connection.GetAsync("a"));
        Assert.All(watches, watch => Assert.NotNull(watch.LastError));
        proxy.Pass();
        await connection.GetAsync("a");
        var since = Stopwatch.StartNew();
        await Eventually.IsTrueAsync(() => watches.All(watch => watch.LastError is null), "all follow again");
        Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(0.5));
        foreach (var watch in watches)
            await watch.DisposeAsync();
    }

    /// <summary>A connection that gets nowhere is given up, though nothing ever refuses it.</summary>
    [Fact]
    public async Task Calls_ToAMemberThatKeepsSilent_GoOverAnotherConnectionInTheEnd()
    {
        await using var etcd = await EtcdServer.StartAsync();
        await using var proxy = TcpProxy.Start(etcd.Endpoint);
        await using var connection = etcd.Connect(
            options =>
            {
                options.RequestTimeout = TimeSpan.FromMilliseconds(500);
                options.ConnectTimeout = TimeSpan.FromMilliseconds(300);
            },
            proxy.Endpoint);
        await connection.GetAsync("a");
        proxy.Stall();
        var before = proxy.Accepted;
        for (var call = 0; call < 3; call++)
            Assert.Equal(EtcdErrorCode.Timeout, (await Assert.ThrowsAsync<EtcdException>(() => connection.GetAsync("a"))).Code);
        Assert.True(proxy.Accepted > before, "nothing else was tried");
        proxy.Pass();
        await connection.GetAsync("a");
    }

    [Fact]
    public async Task Call_RefusedAndThenMetWithSilence_EndsWithinTwiceTheTimeout()
    {
        var timeout = TimeSpan.FromSeconds(2);
        await using var etcd = await EtcdServer.StartAsync();
        await using var one = TcpProxy.Start(etcd.Endpoint);
        await using var two = TcpProxy.Start(etcd.Endpoint);
        await using var connection = Connections.Connect(timeout, one.Endpoint, two.Endpoint);
        one.Refuse();
        two.Refuse();
        var since = Stopwatch.StartNew();
        var calling = connection.GetAsync("a");
        // Half a timeout of quick failures; what follows would be two whole timeouts more if each attempt had its own.
        await Task.Delay(timeout / 2);
        one.Stall();
        two.Stall();
        var failure = await Assert.ThrowsAsync<EtcdException>(() => calling);
        Assert.Equal(EtcdErrorCode.Timeout, failure.Code);
        // Half a second for a busy machine to notice; without the limit it is five seconds and more.
        Assert.InRange(since.Elapsed, TimeSpan.Zero, (2 * timeout) + TimeSpan.FromMilliseconds(500));
    }

    /// <summary>How many attempts of an operation so many calls at once took.</summary>
    private static async Task<int> AttemptsAsync(string operation, int calls, Func<Task> call)
    {
        var attempts = 0;
        using var counter = new BeforeRequests((sent, _) => Interlocked.Add(ref attempts, sent == operation ? 1 : 0));
        await Task.WhenAll(Enumerable.Range(0, calls).Select(_ => call()));
        return attempts;
    }

    private static async Task AssertRecoveryAsync(EtcdConnection connection, Func<Task> kill, Func<Task> restart)
    {
        await connection.PutAsync("a", "1");
        await kill();
        using var back = new CancellationTokenSource();
        var calling = CallUntilAsync(connection, back.Token);
        await Task.Delay(Outage);
        await restart();
        var since = Stopwatch.StartNew();
        await back.CancelAsync();
        var failures = await calling;
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Recovery);
        Assert.NotEmpty(failures);
        Assert.All(failures, failure => Assert.True(failure.IsTransient, failure.Message));
    }

    /// <summary>Calls all the time; ends with the first success after etcd is back.</summary>
    private static async Task<List<EtcdException>> CallUntilAsync(EtcdConnection connection, CancellationToken back)
    {
        var failures = new List<EtcdException>();
        while (true)
        {
            try
            {
                await connection.GetAsync("a", CancellationToken.None);
                if (back.IsCancellationRequested)
                    return failures;
            }
            catch (EtcdException exception)
            {
                failures.Add(exception);
            }

            await Task.Delay(20, CancellationToken.None);
        }
    }

    /// <summary>One etcd behind so many proxies, which a connection takes for members; the first is the one in use, then come the others in the order in which they are asked.</summary>
    private sealed class SeveralMembers(EtcdServer etcd, TcpProxy[] proxies, EtcdConnection connection) : IAsyncDisposable
    {
        public EtcdConnection Connection => connection;

        public TcpProxy this[int place] => proxies[place];

        public static async Task<SeveralMembers> StartAsync(int count, TimeSpan? timeout = null)
        {
            var etcd = await EtcdServer.StartAsync();
            var proxies = Enumerable.Range(0, count).Select(_ => TcpProxy.Start(etcd.Endpoint)).ToArray();
            var connection = Connections.Connect(timeout ?? new EtcdOptions().RequestTimeout, [.. proxies.Select(proxy => proxy.Endpoint)]);
            await connection.PutAsync("a", "1");
            return new(etcd, [.. proxies.OrderByDescending(proxy => proxy.Accepted)], connection);
        }

        public Task WriteRepeatablyAsync() =>
            connection.TxnRepeatablyAsync(new() { Success = { Txn.Put(Connections.Bytes("a"), Connections.Bytes("2")) } }, CancellationToken.None);

        public async ValueTask DisposeAsync()
        {
            await connection.DisposeAsync();
            foreach (var proxy in proxies)
                await proxy.DisposeAsync();
            await etcd.DisposeAsync();
        }
    }
}
