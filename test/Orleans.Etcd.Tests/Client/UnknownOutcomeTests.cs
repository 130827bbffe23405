using System.Collections.Concurrent;
using System.Diagnostics;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Client;

/// <summary>What is sent again and what is not, seen by the key's version: each put that was applied raises it by one.</summary>
public sealed class UnknownOutcomeTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(1);
    private readonly string _key = shared.NewPrefix() + "a";
    private EtcdConnection _direct = null!;
    private TcpProxy _first = null!;
    private TcpProxy _second = null!;

    public Task InitializeAsync()
    {
        _direct = shared.Server.Connect();
        _first = TcpProxy.Start(shared.Server.Endpoint);
        _second = TcpProxy.Start(shared.Server.Endpoint);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _direct.DisposeAsync();
        await _first.DisposeAsync();
        await _second.DisposeAsync();
    }

    [Fact]
    public async Task PutAsync_AnswerNeverComes_IsSentOnceAndSaysUnknown()
    {
        await using var etcd = Connections.Connect(Timeout, _first.Endpoint, _second.Endpoint);
        await etcd.PutAsync(_key, "0");
        _first.StallAnswers();
        _second.StallAnswers();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => etcd.PutAsync(_key, "1"));
        Assert.True(exception.OutcomeUnknown);
        Assert.Equal(EtcdErrorCode.Timeout, exception.Code);
        Assert.Contains("may have been applied", exception.Message);
        Assert.Equal(2, (await _direct.GetAsync(_key))!.Version);
        _first.Pass();
        _second.Pass();
        await etcd.GetAsync(_key);
        Assert.Equal(2, (await _direct.GetAsync(_key))!.Version);
    }

    [Fact]
    public async Task PutAsync_ConnectionBrokenBeforeTheAnswer_IsSentOnceAndSaysUnknown()
    {
        await using var etcd = Connections.Connect(TimeSpan.FromSeconds(20), _first.Endpoint);
        await etcd.PutAsync(_key, "0");
        _first.StallAnswers();
        var putting = etcd.PutAsync(_key, "1");
        await VersionAsync(2);
        _first.BreakAll();
        _first.Pass();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => putting);
        Assert.True(exception.OutcomeUnknown);
        Assert.Equal(EtcdErrorCode.Unavailable, exception.Code);
        Assert.Equal(2, (await _direct.GetAsync(_key))!.Version);
    }

    [Fact]
    public async Task PutRepeatablyAsync_AnswerNeverComes_IsSentAgainElsewhere()
    {
        for (var i = 0; i < 8; i++)
        {
            _first.StallAnswers();
            await using var etcd = Connections.Connect(Timeout, _first.Endpoint, _second.Endpoint);
            await etcd.PutRepeatablyAsync(new() { Key = Connections.Bytes(_key), Value = Connections.Bytes("1") }, CancellationToken.None);
            if ((await _direct.GetAsync(_key))!.Version > i + 1)
                return;
            _first.Pass();
        }

        Assert.Fail("Eight connections began at the member that answers.");
    }

    [Fact]
    public async Task PutAsync_ConnectionRefused_IsSentOnceElsewhere()
    {
        _first.Refuse();
        for (var i = 1; i <= 16; i++)
        {
            await using var etcd = Connections.Connect(Timeout, _first.Endpoint, _second.Endpoint);
            var since = Stopwatch.StartNew();
            await etcd.PutAsync(_key, "1");
            Assert.Equal(i, (await _direct.GetAsync(_key))!.Version);
            Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout * 2);
        }
    }

    [Fact]
    public async Task RangeAsync_MemberStalled_SucceedsElsewhereAndStaysThere()
    {
        _first.Stall();
        for (var i = 0; i < 8; i++)
        {
            await using var etcd = Connections.Connect(Timeout, _first.Endpoint, _second.Endpoint);
            var since = Stopwatch.StartNew();
            await etcd.GetAsync(_key);
            Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout * 2);
            since.Restart();
            await etcd.GetAsync(_key);
            Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout);
        }
    }

    /// <summary>etcd applies the write that fills its database and then says that there is no space.</summary>
    [Fact]
    public async Task PutAsync_DatabaseFull_NeverSaysThatAnAppliedWriteWasNot()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = shared.BinaryPath, ExtraArguments = { "--quota-backend-bytes=1048576" } });
        await using var etcd = server.Connect();
        const int Writers = 64;
        var value = new string('x', 20_000);
        var refused = new ConcurrentDictionary<string, EtcdException>();
        // More than fits, and etcd has all of it before it applies the first: each finds space when it comes, and some none when they are applied.
        server.Pause();
        var writing = Task.WhenAll(Enumerable.Range(0, Writers).Select(async writer =>
        {
            for (var i = 0; i < 20 && !refused.Keys.Any(key => key.StartsWith($"{writer}/", StringComparison.Ordinal)); i++)
            {
                try
                {
                    await etcd.PutAsync($"{writer}/{i}", value);
                }
                catch (EtcdException exception)
                {
                    refused[$"{writer}/{i}"] = exception;
                }
            }
        }));
        await Task.Delay(500);
        server.Resume();
        await writing;

        Assert.Equal(Writers, refused.Count);
        var applied = 0;
        foreach (var (key, exception) in refused)
        {
            Assert.Equal(EtcdErrorCode.ResourceExhausted, exception.Code);
            Assert.Contains("disarm the alarm", exception.Message);
            if (await etcd.GetAsync(key) is null)
                continue;
            applied++;
            Assert.True(exception.OutcomeUnknown);
        }

        // Else it would not show anything.
        Assert.NotEqual(0, applied);
    }

    [Fact]
    public async Task RangeAsync_ConnectionReset_IsRepeated()
    {
        await using var etcd = Connections.Connect(TimeSpan.FromSeconds(5), _first.Endpoint);
        await etcd.PutAsync(_key, "1");
        for (var i = 0; i < 5; i++)
        {
            _first.StallAnswers();
            var reading = etcd.GetAsync(_key);
            await Task.Delay(50);
            _first.BreakAll();
            _first.Pass();
            Assert.NotNull(await reading);
        }
    }

    [Fact]
    public async Task RangeAsync_NoAnswer_EndsWithTheDeadline()
    {
        _first.Stall();
        await using var etcd = Connections.Connect(Timeout, _first.Endpoint);
        var since = Stopwatch.StartNew();
        var exception = await Assert.ThrowsAsync<EtcdException>(() => etcd.GetAsync(_key));
        Assert.InRange(since.Elapsed, Timeout * 0.9, Timeout * 2);
        Assert.Equal(EtcdErrorCode.Timeout, exception.Code);
        Assert.False(exception.OutcomeUnknown);
        Assert.Contains(_first.Endpoint.Authority, exception.Message);
        Assert.Contains($"no answer within {Timeout.TotalSeconds} s. ", exception.Message);
    }

    [Fact]
    public async Task RangeAsync_CancelledByTheCaller_EndsAtOnceAndMovesNobody()
    {
        await using var etcd = Connections.Connect(TimeSpan.FromSeconds(30), _first.Endpoint, _second.Endpoint);
        await etcd.GetAsync(_key);
        var (used, unused) = _first.Accepted > 0 ? (_first, _second) : (_second, _first);
        used.Stall();
        using var cancel = new CancellationTokenSource();
        var reading = etcd.GetAsync(_key, cancel.Token);
        var writing = etcd.PutAsync(_key, "1", cancellationToken: cancel.Token);
        await Task.Delay(100);
        var since = Stopwatch.StartNew();
        await cancel.CancelAsync();
        var exception = await Assert.ThrowsAsync<OperationCanceledException>(() => reading);
        await Assert.ThrowsAsync<OperationCanceledException>(() => writing);
        Assert.Equal(cancel.Token, exception.CancellationToken);
        Assert.InRange(since.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(2));
        used.Pass();
        await etcd.GetAsync(_key);
        Assert.Equal(0, unused.Accepted);
    }

    private async Task VersionAsync(long version)
    {
        var since = Stopwatch.StartNew();
        while ((await _direct.GetAsync(_key))?.Version != version)
        {
            Assert.True(since.Elapsed < TimeSpan.FromSeconds(20));
            await Task.Delay(20);
        }
    }
}
