using Xunit;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>What a watch says is what was written, through breaks of its connection. The server stays up.</summary>
public abstract class RangeWatchTests(SharedEtcd shared) : IAsyncLifetime
{
    private readonly string _prefix = shared.NewPrefix();
    private EtcdConnection _direct = null!;
    private ReferenceLog _reference = null!;
    private TcpProxy _proxy = null!;
    private EtcdConnection _proxied = null!;

    public Task InitializeAsync()
    {
        _direct = shared.Server.Connect();
        _reference = new ReferenceLog(_direct, _prefix, Random.Shared.Next());
        _proxy = TcpProxy.Start(shared.Server.Endpoint);
        _proxied = shared.Server.Connect(through: _proxy.Endpoint);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _proxied.DisposeAsync();
        await _direct.DisposeAsync();
        await _proxy.DisposeAsync();
    }

    [Fact]
    public async Task Batches_ConnectionDisposed_Complete()
    {
        var etcd = shared.Server.Connect();
        await using var watch = new RangeWatch(etcd, _prefix);
        await watch.Batches.ReadAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(10));
        await etcd.DisposeAsync();
        await watch.Batches.Completion.WaitAsync(TimeSpan.FromSeconds(10));
    }

    [Fact]
    public async Task Batches_RandomWrites_EqualTheReference()
    {
        await _reference.WriteAsync(50);
        await using var log = new WatchedLog(_direct, _prefix);
        await _reference.WriteAsync(500);
        await log.AssertEqualsAsync(_reference);
    }

    [Fact]
    public async Task Batches_ConnectionBrokenAgainAndAgain_EqualTheReference()
    {
        await using var log = new WatchedLog(_proxied, _prefix);
        using var stop = new CancellationTokenSource();
        var writing = _reference.WriteUntilAsync(stop.Token);
        for (var i = 0; i < 15; i++)
        {
            var seen = log.Batches.Count;
            await log.WaitForAsync(_ => log.Batches.Count > seen, "progress between two breaks");
            _proxy.BreakAll();
        }

        await stop.CancelAsync();
        await writing;
        await log.AssertEqualsAsync(_reference);
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Batches_TenThousandEventsWhileRefused_EqualTheReference()
    {
        var wide = new ReferenceLog(_direct, _prefix, Random.Shared.Next(), mostKeys: 12);
        await using var log = new WatchedLog(_proxied, _prefix);
        await wide.WriteAsync(10);
        await log.WaitForAsync(batch => batch.Snapshot.Revision >= wide.LastRevision, "the beginning");
        _proxy.Refuse();
        await wide.WriteAsync(1_600);
        Assert.True(wide.Entries.Sum(entry => entry.Changes.Count) >= 10_000);
        _proxy.Pass();
        await log.AssertEqualsAsync(wide);
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Batches_BacklogOfBigValues_EqualTheReference()
    {
        var big = new ReferenceLog(_direct, _prefix, Random.Shared.Next(), valueSize: 200_000);
        await using var log = new WatchedLog(_proxied, _prefix);
        await log.WaitForStartAsync();
        _proxy.Refuse();
        await big.WriteAsync(60);
        Assert.True(big.Entries.Sum(entry => entry.Changes.Values.Sum(value => (long)(value?.Length ?? 0))) > 8_000_000);
        _proxy.Pass();
        await log.AssertEqualsAsync(big);
    }

    [Fact]
    public async Task Batches_CompactedWhileDisconnected_ResyncWithDeletions()
    {
        await _reference.WriteAsync(50);
        await using var log = new WatchedLog(_proxied, _prefix);
        await log.WaitForStartAsync();
        _proxy.Refuse();
        await _reference.DeleteAllAsync();
        await _reference.WriteAsync(5);
        await shared.Server.CompactAsync(await shared.Server.GetRevisionAsync());
        _proxy.Pass();
        await log.AssertEqualsAsync(_reference, maxResyncs: 1);
    }

    /// <summary>etcd forgets a deletion at the compact revision itself, and lets a watch start there without a word.</summary>
    [Fact]
    public async Task Batches_CompactedAtTheNextRevisionThatIsADeletion_SeeTheDeletion()
    {
        await _direct.PutAsync(_prefix + "a", "1");
        await using var log = new WatchedLog(_proxied, _prefix);
        await log.WaitForStartAsync();
        _proxy.Refuse();
        var deleted = (await _direct.DeleteAsync(_prefix + "a")).Header.Revision;
        await shared.Server.CompactAsync(deleted);
        _proxy.Pass();
        await _direct.PutAsync(_prefix + "b", "1");
        await log.WaitForAsync(batch => batch.Snapshot.Values.ContainsKey(Connections.Bytes(_prefix + "b")), "the put after the deletion");
        Assert.DoesNotContain(Connections.Bytes(_prefix + "a"), log.Batches[^1].Snapshot.Values.Keys);
    }

    [Fact]
    public async Task Batches_PrefixIsAPrefixOfAnother_ShowOnlyTheirOwn()
    {
        await using var log = new WatchedLog(_direct, _prefix);
        await log.WaitForStartAsync();
        await _direct.PutAsync(_prefix[..^1] + "-eu/a", "1");
        await _direct.PutAsync(_prefix[..^1], "1");
        await _reference.WriteAsync(5);
        await log.AssertEqualsAsync(_reference);
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task Batches_ConsumerReadsNothing_AnotherWatchIsPrompt()
    {
        var big = new ReferenceLog(_direct, _prefix, Random.Shared.Next(), valueSize: 50_000);
        await using var slow = new RangeWatch(_proxied, _prefix);
        await using var log = new WatchedLog(_proxied, _prefix);
        await log.WaitForStartAsync();
        await big.WriteAsync(800);
        await log.AssertEqualsAsync(big);
    }

    [Fact]
    public async Task LiveView_WaitAsync_ReturnsOnceTheConditionHolds()
    {
        await using var view = new LiveView(_direct, _prefix);
        var empty = await view.WaitAsync(_ => true, CancellationToken.None);
        Assert.Empty(empty.Values);
        var waiting = view.WaitAsync(snapshot => snapshot.Values.Count == 2, CancellationToken.None);
        await _direct.PutAsync(_prefix + "a", "1");
        Assert.False(waiting.IsCompleted);
        await _direct.PutAsync(_prefix + "b", "1");
        Assert.Equal(2, (await waiting.WaitAsync(TimeSpan.FromSeconds(20))).Values.Count);

        using var cancel = new CancellationTokenSource();
        var cancelled = view.WaitAsync(_ => false, cancel.Token);
        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancelled);

        var ended = view.WaitAsync(_ => false, CancellationToken.None);
        await view.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => ended.WaitAsync(TimeSpan.FromSeconds(20)));
    }
}

[Trait("Category", "Long")]
public sealed class RangeWatchTestsOn34(SharedEtcd34 shared) : RangeWatchTests(shared), IClassFixture<SharedEtcd34>;

public sealed class RangeWatchTestsOn35(SharedEtcd35 shared) : RangeWatchTests(shared), IClassFixture<SharedEtcd35>;

[Trait("Category", "Long")]
public sealed class RangeWatchTestsOn35Secured(SharedEtcd35Secured shared) : RangeWatchTests(shared), IClassFixture<SharedEtcd35Secured>;
