using System.Collections.Immutable;
using System.Text;
using Google.Protobuf;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Config;

/// <summary>A namespace over a real etcd, without a cluster: what is read, written, and told.</summary>
public abstract class ConfigFeedTests(SharedEtcd etcd) : IAsyncLifetime
{
    private const string Name = "orders";

    private readonly string _root = etcd.NewPrefix() + "config/";
    private readonly string _history = etcd.NewPrefix() + "history/";
    private EtcdConnection _etcd = null!;
    private ConfigFeed _feed = null!;
    private ConfigWriter _writer = null!;
    private long _last;

    public Task InitializeAsync()
    {
        _etcd = etcd.Server.Connect();
        _feed = Feed();
        _writer = Writer();
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _feed.DisposeAsync();
        await _etcd.DisposeAsync();
    }

    [Fact]
    public async Task Values_OfEveryShape_AreReadAsTheyWereWritten_ByWhomever()
    {
        var large = new string('x', 1024 * 1024);
        (string Key, string Value)[] all =
        [
            ("plain", "1"), ("with/slash", "2"), ("/leading", "3"), ("a.b.c", "4"), ("ключ/鍵/🔑", "5"), ("space and\ttab", "6"), ("empty", ""), ("large", large), ("%2F", "7"), (".overlay", "8"),
        ];
        foreach (var (key, value) in all)
            await CommitAsync(ConfigEdit.Set(key, value));
        var byHand = await _etcd.PutAsync($"{_root}{Name}/by/hand", "9");
        // Another namespace, whose name begins alike.
        await _etcd.PutAsync($"{_root}{Name}2/plain", "no");
        await _etcd.PutAsync($"{_root}{Name}", "no");
        var state = await ReachAsync(byHand.Header.Revision);
        Assert.Equal(all.Append(("by/hand", "9")).ToDictionary(), state.Values.ToDictionary(pair => pair.Key, pair => pair.Value.Text));
        foreach (var (key, value) in all)
            Assert.Equal(value, (await _etcd.GetAsync($"{_root}{Name}/{key}"))!.Value.ToStringUtf8());
    }

    [Fact]
    public async Task KeyThatIsNoText_IsSkipped()
    {
        await _etcd.PutAsync(new Etcdserverpb.PutRequest { Key = ByteString.CopyFrom([.. System.Text.Encoding.UTF8.GetBytes($"{_root}{Name}/"), 0xff]), Value = ByteString.CopyFromUtf8("x") });
        await CommitAsync(ConfigEdit.Set("a", "1"));
        Assert.Equal(["a"], (await ReachAsync()).Values.Keys);
    }

    [Fact]
    public async Task BadCommits_AreRefusedByName_AndChangeNothing()
    {
        await Refused("at least one");
        await Refused("3000", [.. Enumerable.Range(0, 3001).Select(i => ConfigEdit.Set($"{i}", ""))]);
        await Refused("60", [.. Enumerable.Range(0, 61).Select(i => ConfigEdit.Set($"{i}", "") with { ExpectedRevision = 0 })]);
        await Refused("two edits of 'a'", ConfigEdit.Set("a", ""), ConfigEdit.Delete("a"));
        await Refused("negative", ConfigEdit.Set("a", "") with { ExpectedRevision = -1 });
        await Refused("1025", ConfigEdit.Set(new string('x', 1025), ""));
        await Refused("Unicode", ConfigEdit.Set("\ud800", ""));
        await Refused("empty", ConfigEdit.Set("", ""));
        Assert.Contains("Author", (await Assert.ThrowsAsync<ArgumentException>(() => _writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", "")], Author = new string('x', 257) }))).Message);
        Assert.Contains("Reason", (await Assert.ThrowsAsync<ArgumentException>(() => _writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", "")], Reason = "\ud800" }))).Message);
        var tooLarge = await Assert.ThrowsAsync<EtcdException>(() => CommitAsync(ConfigEdit.Set("small", "1"), ConfigEdit.Set("large", new string('x', 2 * 1024 * 1024))));
        Assert.Equal((EtcdErrorCode.InvalidRequest, false), (tooLarge.Code, tooLarge.OutcomeUnknown));
        Assert.Contains("large", tooLarge.Message);
        Assert.Empty((await _etcd.RangeAsync(Txn.Range(_root))).Kvs);
        Assert.Empty((await _etcd.RangeAsync(Txn.Range(_history))).Kvs);

        async Task Refused(string says, params ConfigEdit[] edits) =>
            Assert.Contains(says, (await Assert.ThrowsAnyAsync<ArgumentException>(() => CommitAsync(edits))).Message);
    }

    [Fact]
    public async Task ManyKeys_AreChangedInOneRevision_AndToldTogether()
    {
        var told = new ConfigReplay();
        await using var subscription = await SubscribeAsync(told);
        var made = await CommitAsync([.. Enumerable.Range(0, 500).Select(i => ConfigEdit.Set($"{i}", "1"))]);
        await Eventually.IsTrueAsync(() => told.Revision == made.Revision, "it is told");
        Assert.Equal((1, 500), (told.Deltas, told.Values.Count));
        var gone = await CommitAsync([.. Enumerable.Range(0, 3000).Select(i => i < 500 ? ConfigEdit.Delete($"{i}") : ConfigEdit.Set($"{i}", "2"))]);
        var state = await ReachAsync();
        Assert.Equal(2500, state.Values.Count);
        Assert.All(state.Values.Values, value => Assert.Equal(gone.Revision, value.Revision));
        Assert.Empty(told.Faults);
    }

    [Fact]
    public async Task Conflict_SaysWhichKeyAndWhatItHolds_AndChangesNothing()
    {
        var first = await CommitAsync(ConfigEdit.Set("a", "1"), ConfigEdit.Set("b", "1"));
        var refused = await CommitAsync(ConfigEdit.Set("c", "2"), ConfigEdit.Set("b", "2") with { ExpectedRevision = first.Revision - 1 });
        Assert.False(refused.IsCommitted);
        Assert.Equal(("b", first.Revision - 1, "1", first.Revision), (refused.Conflict!.Key, refused.Conflict.ExpectedRevision, refused.Conflict.Current!.Text, refused.Conflict.Current.Revision));
        Assert.Null(await _etcd.GetAsync($"{_root}{Name}/c"));
        var there = await CommitAsync(ConfigEdit.Set("a", "2") with { ExpectedRevision = 0 });
        Assert.Equal("1", there.Conflict!.Current!.Text);
        var absent = await CommitAsync(ConfigEdit.Delete("none") with { ExpectedRevision = 5 });
        Assert.Null(absent.Conflict!.Current);
        Assert.True((await CommitAsync(ConfigEdit.Set("a", "2") with { ExpectedRevision = first.Revision }, ConfigEdit.Set("d", "1") with { ExpectedRevision = 0 })).IsCommitted);
        Assert.Equal(2, (await _writer.HistoryAsync(10, long.MaxValue)).Length);
    }

    [Fact]
    public async Task ConflictingCommits_OfManyWriters_ExactlyOneWinsEachTime()
    {
        var made = await CommitAsync(ConfigEdit.Set("a", "0"));
        for (var round = 0; round < 10; round++)
        {
            var results = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Writer().CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", $"{round} {i}") with { ExpectedRevision = made.Revision }] })));
            made = Assert.Single(results, result => result.IsCommitted);
            var winner = (await _etcd.GetAsync($"{_root}{Name}/a"))!;
            Assert.Equal(made.Revision, winner.ModRevision);
            Assert.All(results.Where(result => !result.IsCommitted), result => Assert.Equal(winner.Value.ToStringUtf8(), result.Conflict!.Current!.Text));
        }

        Assert.Equal(Enumerable.Range(1, 11).Select(i => (long)i).Reverse(), (await _writer.HistoryAsync(100, long.MaxValue)).Select(entry => entry.Sequence));
    }

    [Fact]
    public async Task CommitsOfManyWriters_AreAllInTheHistory_InOrder()
    {
        await Task.WhenAll(Enumerable.Range(0, 40).Select(i => (i % 2 == 0 ? _writer : Writer()).CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set($"{i}", "1")], Author = $"author {i}", Reason = "because" })));
        var history = await _writer.HistoryAsync(100, long.MaxValue);
        Assert.Equal(40, history.Select(entry => entry.Author).Distinct().Count());
        Assert.Equal(history.OrderByDescending(entry => entry.Revision), history);
        Assert.Equal(history.OrderByDescending(entry => entry.Sequence), history);
        Assert.All(history, entry => Assert.Equal(entry.Author, $"author {Assert.Single(entry.Keys)}"));
        Assert.Equal(history.Skip(1).Take(3).Select(entry => entry.Revision), (await _writer.HistoryAsync(3, history[0].Sequence)).Select(entry => entry.Revision));
    }

    [Fact]
    public async Task History_KeepsNoMoreThanItsLimit()
    {
        var writer = new ConfigWriter(_etcd, _feed.Layout, historyLimit: 5);
        for (var i = 0; i < 12; i++)
            await writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", $"{i}")] });
        Assert.Equal([12, 11, 10, 9, 8], (await writer.HistoryAsync(100, long.MaxValue)).Select(entry => entry.Sequence));
    }

    /// <summary>What a writer remembers of the history saves it a read, and is never believed where it is not so.</summary>
    [Fact]
    public async Task Commit_CostsOneRequestAfterTheFirst_AndTakesTheNextNumber_WhateverOthersDidToTheHistory()
    {
        var (writer, other) = (new ConfigWriter(_etcd, _feed.Layout, historyLimit: 5), new ConfigWriter(_etcd, _feed.Layout, historyLimit: 5));
        await SetAsync(writer);
        Assert.Equal(["Txn"], await RequestsAsync(2));
        // More than are kept: of what it remembers nothing is left.
        for (var i = 0; i < 8; i++)
            await SetAsync(other);
        Assert.Equal(["Txn", "Txn"], await RequestsAsync(11));
        // As after a restore from a backup that was made before the last commits, the second time by one that others have gone on from.
        await _etcd.DeleteAsync(_feed.Layout.HistoryKey(11).ToStringUtf8());
        Assert.Equal(["Txn", "Range", "Txn"], await RequestsAsync(11));
        await _etcd.DeleteAsync(_feed.Layout.HistoryKey(11).ToStringUtf8());
        await SetAsync(other);
        Assert.Equal(["Txn", "Range", "Txn"], await RequestsAsync(12));
        await _etcd.DeleteRangeAsync(new() { Key = ByteString.CopyFromUtf8(_feed.Layout.HistoryPrefix), RangeEnd = EtcdKeys.RangeEnd(_feed.Layout.HistoryPrefix) });
        Assert.Equal(["Txn", "Range", "Txn"], await RequestsAsync(1));
        // A number that no commit would have taken.
        await _etcd.PutAsync($"{_feed.Layout.HistoryPrefix}7", "by hand");
        Assert.Contains("not put there by a commit", (await Assert.ThrowsAsync<InvalidOperationException>(() => SetAsync(writer))).Message);

        async Task<List<string>> RequestsAsync(long number)
        {
            List<string> requests = [];
            using (new BeforeRequests((operation, _) => requests.Add(operation)))
                await SetAsync(writer);
            Assert.Equal(number, (await _writer.HistoryAsync(1, long.MaxValue))[0].Sequence);
            return requests;
        }

        static async Task SetAsync(ConfigWriter writer) =>
            Assert.True((await writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", Guid.NewGuid().ToString())] })).IsCommitted);
    }

    [Fact]
    public async Task Rollback_MakesItWhatItWas_WhoeverChangedIt()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"), ConfigEdit.Set("b", "1"), ConfigEdit.SetOverlay("canary", "a", "9"), ConfigEdit.SetRule("canary", percent: 100));
        var then = (await _etcd.RangeAsync(Txn.Range(_root))).Header.Revision;
        await CommitAsync(ConfigEdit.Set("a", "2"), ConfigEdit.Delete("b"), ConfigEdit.Set("c", "2"), ConfigEdit.Delete(".overlays/canary/a"));
        await _etcd.PutAsync($"{_root}{Name}/d", "by hand");
        var result = await _writer.RollbackAsync(then, "somebody", null);
        var state = await ReachAsync(result.Revision);
        Assert.Equal(new Dictionary<string, string> { ["a"] = "1", ["b"] = "1" }, state.Values.ToDictionary(pair => pair.Key, pair => pair.Value.Text));
        Assert.Equal("9", state.Find("a", new ConfigInstance("i"))!.Text);
        var entry = (await _writer.HistoryAsync(1, long.MaxValue))[0];
        Assert.Equal((result.Revision, "somebody", $"Rollback to revision {then}"), (entry.Revision, entry.Author, entry.Reason));
        // And back again: it is a commit like any other.
        var back = await _writer.RollbackAsync(result.Revision - 1, null, null);
        Assert.Equal(new Dictionary<string, string> { ["a"] = "2", ["c"] = "2", ["d"] = "by hand" }, (await ReachAsync(back.Revision)).Values.ToDictionary(pair => pair.Key, pair => pair.Value.Text));
        // Where nothing differs nothing is done.
        var count = (await _writer.HistoryAsync(100, long.MaxValue)).Length;
        await _writer.RollbackAsync((await _etcd.RangeAsync(Txn.Range(_root))).Header.Revision, null, null);
        Assert.Equal(count, (await _writer.HistoryAsync(100, long.MaxValue)).Length);
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => _writer.RollbackAsync(long.MaxValue, null, null));
    }

    [Fact]
    public async Task Rollback_SomebodyDeletesMeanwhile_TakesThatBackToo()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"), ConfigEdit.Set("b", "1"));
        var then = (await _etcd.RangeAsync(Txn.Range(_root))).Header.Revision;
        await CommitAsync(ConfigEdit.Set("a", "2"));
        // Between the read of what is there and the write: no comparison of what is left can tell.
        void Before(string operation, int count)
        {
            if (operation == "Txn" && count == 1)
                _etcd.DeleteAsync($"{_root}{Name}/b").GetAwaiter().GetResult();
        }

        ConfigCommitResult result;
        using (new BeforeRequests(Before))
            result = await _writer.RollbackAsync(then, null, null);
        Assert.Equal(new Dictionary<string, string> { ["a"] = "1", ["b"] = "1" }, (await ReachAsync(result.Revision)).Values.ToDictionary(pair => pair.Key, pair => pair.Value.Text));
    }

    [Fact]
    public async Task Rollback_EtcdGoesAwayBeforeItIsSureOfIt_SaysThatSomethingWasDone()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await CommitAsync(ConfigEdit.Set("a", "2"));
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var away = etcd.Server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(1), proxy.Endpoint);
        var writer = new ConfigWriter(away, _feed.Layout, historyLimit: 100);
        // The first range is what is gone back to, the second whether it came to that.
        void Before(string operation, int count)
        {
            if (operation == "Range" && count == 1)
                proxy.Refuse();
        }

        using (new BeforeRequests(Before))
            Assert.True((await Assert.ThrowsAsync<EtcdException>(() => writer.RollbackAsync(_last - 1, null, null))).OutcomeUnknown);
        Assert.Equal("1", (await _etcd.GetAsync($"{_root}{Name}/a"))!.Value.ToStringUtf8());
    }

    [Fact]
    public async Task Rollback_WrittenToBeforeEachAttempt_EndsInTimeAndHasDoneNothing()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await CommitAsync(ConfigEdit.Set("a", "2"));
        await using var impatient = etcd.Server.Connect(options => options.RequestTimeout = TimeSpan.FromMilliseconds(500));
        var writer = new ConfigWriter(impatient, _feed.Layout, historyLimit: 100);
        var writes = 0;
        void Before(string operation, int count)
        {
            if (operation == "Txn" && count > 0)
                _etcd.PutAsync($"{_root}{Name}/b", $"{++writes}").GetAwaiter().GetResult();
        }

        using (new BeforeRequests(Before))
        {
            var failure = await Assert.ThrowsAsync<EtcdException>(() => writer.RollbackAsync(_last - 1, null, null).WaitAsync(TimeSpan.FromSeconds(5)));
            Assert.Equal((EtcdErrorCode.Timeout, false), (failure.Code, failure.OutcomeUnknown));
        }

        Assert.True(writes > 1);
        Assert.Equal("2", (await _etcd.GetAsync($"{_root}{Name}/a"))!.Value.ToStringUtf8());
    }

    [Fact]
    public async Task Rollback_BeyondCompaction_TakesBackWhatWasCommitted_OrSaysThatItCannot()
    {
        var before = (await _etcd.RangeAsync(Txn.Range(_root))).Header.Revision;
        await CommitAsync(ConfigEdit.Set("a", "1"), ConfigEdit.Set("b", ""), ConfigEdit.Set("gone", "1"));
        var then = await CommitAsync(ConfigEdit.Delete("gone"));
        await CommitAsync(ConfigEdit.Set("a", "2"), ConfigEdit.Set("b", "2"), ConfigEdit.Set("gone", "2"), ConfigEdit.Set("new", "2"));
        await _etcd.PutAsync($"{_root}{Name}/foreign", "stays");
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        var result = await _writer.RollbackAsync(then.Revision, null, null);
        var state = await ReachAsync(result.Revision);
        Assert.Equal(["1", "", "stays"], new[] { "a", "b", "foreign" }.Select(key => state.Values[key].Text));
        Assert.False(state.Values.ContainsKey("gone") || state.Values.ContainsKey("new"));
        // What was there before the first commit nobody knows any more.
        await CommitAsync(ConfigEdit.Delete("foreign"));
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        Assert.Contains("does not go back", (await Assert.ThrowsAsync<InvalidOperationException>(() => _writer.RollbackAsync(before, null, null))).Message);
    }

    /// <summary>Commits from after that revision are forgotten, whatever those that are left tell.</summary>
    [Fact]
    public async Task Rollback_BeyondCompaction_AndBeyondTheHistory_IsRefused()
    {
        var writer = new ConfigWriter(_etcd, _feed.Layout, historyLimit: 5);
        var before = (await _etcd.RangeAsync(Txn.Range(_root))).Header.Revision;
        var first = await SetAsync("limit", "5");
        await etcd.Server.CompactAsync(first);
        // All that there ever was is still known.
        await writer.RollbackAsync(before, null, null);
        Assert.Null(await _etcd.GetAsync($"{_root}{Name}/limit"));
        var then = await SetAsync("limit", "6");
        await SetAsync("limit", "50");
        for (var i = 0; i < 5; i++)
            await SetAsync($"job-{i}", "1");
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        Assert.Contains("does not go back", (await Assert.ThrowsAsync<InvalidOperationException>(() => writer.RollbackAsync(then, null, null))).Message);

        async Task<long> SetAsync(string key, string value) => (await writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set(key, value)] })).Revision;
    }

    /// <summary>Others may write what no commit would.</summary>
    [Fact]
    public async Task Rollback_BringsBackKeysThatNoCommitWouldTake()
    {
        await _etcd.PutAsync($"{_root}{Name}/", "empty");
        await _etcd.PutAsync($"{_root}{Name}/{new string('k', 2000)}", "long");
        var then = await CommitAsync(ConfigEdit.Set("a", "1"));
        await _etcd.PutAsync($"{_root}{Name}/", "2");
        await _etcd.DeleteAsync($"{_root}{Name}/{new string('k', 2000)}");
        await CommitAsync(ConfigEdit.Set("a", "2"));
        await _writer.RollbackAsync(then.Revision, null, null);
        foreach (var (key, value) in new[] { ("", "empty"), (new string('k', 2000), "long"), ("a", "1") })
            Assert.Equal(value, (await _etcd.GetAsync($"{_root}{Name}/{key}"))?.Value.ToStringUtf8());
    }

    [Fact]
    public async Task Rollback_OfMoreKeysThanACommitTakes_SaysSo()
    {
        foreach (var keys in Enumerable.Range(0, ConfigWriter.MostEdits + 1).Chunk(ConfigWriter.MostEdits))
            await CommitAsync([.. keys.Select(key => ConfigEdit.Set($"{key}", "1"))]);
        await _etcd.DeleteRangeAsync(new() { Key = Connections.Bytes($"{_root}{Name}/"), RangeEnd = EtcdKeys.RangeEnd($"{_root}{Name}/") }, CancellationToken.None);
        Assert.Contains("3001 keys", (await Assert.ThrowsAsync<InvalidOperationException>(() => _writer.RollbackAsync(_last, null, null))).Message);
    }

    [Fact]
    public async Task Rollback_BeyondCompaction_ToAValueTooLargeToBeKeptTwice_IsRefused()
    {
        var then = await CommitAsync(ConfigEdit.Set("large", new string('x', 300 * 1024)));
        await CommitAsync(ConfigEdit.Set("large", "2"));
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        Assert.Contains("too large", (await Assert.ThrowsAsync<InvalidOperationException>(() => _writer.RollbackAsync(then.Revision, null, null))).Message);
    }

    [Fact]
    public async Task Subscriber_IsToldEachRevisionOnce_AndOnlyWhatItAskedFor()
    {
        var (all, some) = (new ConfigReplay(), new ConfigReplay("b/"));
        await CommitAsync(ConfigEdit.Set("b/0", "0"));
        await ReachAsync();
        await using var one = await SubscribeAsync(all);
        await using var other = await SubscribeAsync(some, new ConfigScope { KeyPrefix = "b/" });
        Assert.Equal((1, 1), (all.Snapshots, some.Snapshots));
        for (var i = 0; i < 50; i++)
            await CommitAsync(ConfigEdit.Set(i % 10 == 0 ? "b/1" : "a", $"{i}"));
        var last = await CommitAsync(ConfigEdit.Set("b/2", "x"), ConfigEdit.Set("a", "x"));
        await Eventually.IsTrueAsync(() => all.Revision == last.Revision && some.Revision == last.Revision, "both are told");
        Assert.Equal((1, 51), (all.Snapshots, all.Deltas));
        Assert.Equal((1, 6), (some.Snapshots, some.Deltas));
        Assert.Empty(all.Faults.Concat(some.Faults));
        Assert.Equal(new Dictionary<string, string> { ["b/0"] = "0", ["b/1"] = "40", ["b/2"] = "x" }, some.Values);
    }

    [Fact]
    public async Task SlowSubscriber_OverflowsIntoASnapshot_AndDelaysNobody()
    {
        var (slow, quick) = (new ConfigReplay(), new ConfigReplay());
        using var gate = new SemaphoreSlim(0);
        var first = true;
        await using var held = await ConfigSubscription.StartAsync(
            Name,
            _feed.NextAsync,
            async told =>
            {
                slow.On(told);
                if (!first)
                    await gate.WaitAsync();
                first = false;
            },
            null,
            null,
            CancellationToken.None);
        await using var other = await SubscribeAsync(quick);
        // More than is kept: 16 MiB, by values of half a MiB.
        for (var i = 0; i < 40; i++)
            await CommitAsync(ConfigEdit.Set($"{i % 4}", $"{i} {new string('x', 512 * 1024)}"));
        var last = await ReachAsync();
        await Eventually.IsTrueAsync(() => quick.Revision == last.Revision, "the quick one is told");
        gate.Release(100);
        await Eventually.IsTrueAsync(() => slow.Revision == last.Revision, "the slow one is told");
        Assert.Equal(2, slow.Snapshots);
        Assert.Empty(slow.Faults.Concat(quick.Faults));
        Assert.Equal(quick.Values, slow.Values);
        Assert.Equal((1, 40), (quick.Snapshots, quick.Deltas));
    }

    [Fact]
    public async Task SubscriberThatThrows_IsToldAgainAsAWhole()
    {
        var told = new List<ConfigNotification>();
        await using var subscription = await ConfigSubscription.StartAsync(
            Name,
            _feed.NextAsync,
            notification =>
            {
                lock (told)
                    told.Add(notification);
                return told.Count is 1 or 3 ? throw new InvalidOperationException("of a user's") : Task.CompletedTask;
            },
            null,
            null,
            CancellationToken.None);
        Assert.Equal(2, told.Count);
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await Eventually.IsTrueAsync(() => told.Count == 4, "it is told again");
        Assert.Null(told[2].Snapshot);
        Assert.Equal("1", told[3].Snapshot!["a"].Text);
    }

    [Fact]
    public async Task Subscription_DisposedByItsOwnHandler_EndsAndHangsNowhere()
    {
        IAsyncDisposable? subscription = null;
        var told = 0;
        subscription = await ConfigSubscription.StartAsync(
            Name,
            _feed.NextAsync,
            async _ =>
            {
                told++;
                if (subscription is not null)
                    await subscription.DisposeAsync();
            },
            null,
            null,
            CancellationToken.None);
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await Eventually.IsTrueAsync(() => told == 2, "it is told");
        await subscription.DisposeAsync().AsTask().WaitAsync(TimeSpan.FromSeconds(5));
        await CommitAsync(ConfigEdit.Set("a", "2"));
        await Task.Delay(200);
        Assert.Equal(2, told);
    }

    [Fact]
    public async Task SecondView_ContinuesWhereTheFirstEnded_WithoutGoingBack()
    {
        var told = new ConfigReplay();
        await using var second = Feed();
        var feed = _feed;
        await using var subscription = await ConfigSubscription.StartAsync(Name, (query, token) => feed.NextAsync(query, token), told.OnAsync, null, null, CancellationToken.None);
        for (var round = 0; round < 6; round++)
        {
            var made = await CommitAsync(ConfigEdit.Set("a", $"{round}"));
            feed = round % 2 == 0 ? second : _feed;
            await Eventually.IsTrueAsync(() => told.Revision >= made.Revision, "it is told");
        }

        Assert.Empty(told.Faults);
        Assert.Equal("5", told.Values["a"]);
    }

    /// <summary>A new view began where etcd was; the next one, of another silo, where the namespace was last changed.</summary>
    [Fact]
    public async Task SubscriberThatKnowsMoreThanTheView_CostsOneRequestOfEtcds()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"));
        var state = await ReachAsync();
        var elsewhere = await _etcd.PutAsync($"{_root}elsewhere", "1");
        var cursor = state.Cursor with { Stream = Guid.NewGuid(), Revision = elsewhere.Header.Revision };
        var before = (await etcd.Server.HandledAsync())["Range"];
        for (var i = 0; i < 5; i++)
        {
            var page = await _feed.NextAsync(new ConfigQuery(cursor, new ConfigScope(), TimeSpan.FromMilliseconds(20)), CancellationToken.None);
            Assert.Empty(page.Notifications);
            Assert.Equal(cursor, page.Next);
        }

        Assert.Equal(before + 1, (await etcd.Server.HandledAsync())["Range"]);
        // And it is told what comes then.
        await CommitAsync(ConfigEdit.Set("a", "2"));
        Assert.Single((await _feed.NextAsync(new ConfigQuery(cursor, new ConfigScope(), TimeSpan.FromSeconds(10)), CancellationToken.None)).Notifications);
    }

    [Fact]
    public async Task Overlay_AppliesToThoseWhomItsRuleMatches_AndItsComingAndGoingIsTold()
    {
        var eu = new ConfigInstance("silo-1") { Labels = ImmutableDictionary<string, string>.Empty.Add("zone", "eu") };
        var (there, elsewhere, nobody) = (new ConfigReplay(), new ConfigReplay(), new ConfigReplay());
        await CommitAsync(ConfigEdit.Set("limit", "10"), ConfigEdit.Set("other", "1"));
        await using var one = await SubscribeAsync(there, new ConfigScope { Instance = eu });
        await using var two = await SubscribeAsync(elsewhere, new ConfigScope { Instance = new ConfigInstance("silo-2") });
        await using var three = await SubscribeAsync(nobody);
        await CommitAsync(ConfigEdit.SetOverlay("trial", "limit", "20"), ConfigEdit.SetOverlay("trial", "new", "1"));
        Assert.Equal("10", (await ReachAsync()).Find("limit", eu)!.Text);
        await CommitAsync(ConfigEdit.SetRule("trial", labels: new Dictionary<string, string> { ["zone"] = "eu" }));
        var state = await ReachAsync();
        Assert.Equal(("20", "trial"), (state.All(eu)["limit"].Text, state.All(eu)["limit"].Layer));
        Assert.Equal(("10", null), (state.Find("limit", null)!.Text, state.Find("limit", null)!.Layer));
        Assert.Equal("10", state.Find("limit", new ConfigInstance("silo-2"))!.Text);
        await Eventually.IsTrueAsync(() => there.Values.GetValueOrDefault("limit") == "20" && there.Values.ContainsKey("new"), "it is told");
        // What lies under it is of no interest to those whom it applies to.
        await CommitAsync(ConfigEdit.Set("limit", "11"));
        await Eventually.IsTrueAsync(() => elsewhere.Values["limit"] == "11" && nobody.Values["limit"] == "11", "the others are told");
        Assert.Equal("20", there.Values["limit"]);
        await CommitAsync(ConfigEdit.Delete(".overlays/trial/.rule"));
        await Eventually.IsTrueAsync(() => there.Values["limit"] == "11" && !there.Values.ContainsKey("new"), "it is told that it ended");
        await _etcd.PutAsync($"{_root}{Name}/.overlays/trial/.rule", "no json");
        await CommitAsync(ConfigEdit.Set("other", "2"));
        await Eventually.IsTrueAsync(() => there.Values["other"] == "2", "it goes on");
        Assert.Equal("11", (await ReachAsync()).Find("limit", eu)!.Text);
        Assert.Empty(there.Faults.Concat(elsewhere.Faults.Concat(nobody.Faults)));
    }

    [Fact]
    public async Task Percentage_IsOfTheInstances_AndWhoIsInStaysIn()
    {
        await CommitAsync(ConfigEdit.Set("limit", "10"), ConfigEdit.SetOverlay("trial", "limit", "20"), ConfigEdit.SetRule("trial", percent: 10));
        await ReachAsync();
        var instances = Enumerable.Range(0, 2000).Select(i => new ConfigInstance($"silo-{i}")).ToArray();
        var tenth = In();
        Assert.InRange(tenth.Count, 140, 260);
        await CommitAsync(ConfigEdit.SetRule("trial", percent: 50));
        await ReachAsync();
        var half = In();
        Assert.InRange(half.Count, 900, 1100);
        Assert.Subset(half, tenth);
        await CommitAsync(ConfigEdit.SetRule("trial", percent: 0));
        await ReachAsync();
        Assert.Empty(In());
        Assert.Throws<ArgumentOutOfRangeException>(() => ConfigEdit.SetRule("trial", percent: 101));
        Assert.Throws<ArgumentException>(() => ConfigEdit.SetOverlay("a/b", "limit", "1"));

        HashSet<string> In() => [.. instances.Where(instance => _feed.State!.Find("limit", instance)!.Text == "20").Select(instance => instance.Name)];
    }

    [Theory]
    [InlineData("""{"percentage":10}""")]
    [InlineData("""{"percent":101}""")]
    [InlineData("""{"labels":{"zone":null}}""")]
    [InlineData("null")]
    public async Task RuleThatIsMisspelt_AppliesToNobody(string rule)
    {
        await CommitAsync(ConfigEdit.Set("limit", "10"), ConfigEdit.SetOverlay("trial", "limit", "20"), ConfigEdit.Set(".overlays/trial/.rule", rule));
        var state = await ReachAsync();
        Assert.Equal("10", state.Find("limit", new ConfigInstance("silo-1"))!.Text);
        await CommitAsync(ConfigEdit.Set(".overlays/trial/.rule", "{}"));
        state = await ReachAsync();
        Assert.Equal("20", state.Find("limit", new ConfigInstance("silo-1"))!.Text);
    }

    [Fact]
    public async Task Overlays_SeveralAtOnce_AndRuleAndValuesInOneRevision_AreToldRightly()
    {
        var instance = new ConfigInstance("silo-1");
        var told = new ConfigReplay("k");
        await CommitAsync(ConfigEdit.Set("k0", "base"));
        await using var subscription = await SubscribeAsync(told, new ConfigScope { KeyPrefix = "k", Instance = instance });
        var random = new Random(5);
        for (var i = 0; i < 300; i++)
        {
            List<ConfigEdit> edits = [];
            foreach (var key in Enumerable.Range(0, 4).Where(_ => random.Next(3) == 0))
                edits.Add(random.Next(4) == 0 ? ConfigEdit.Delete($"k{key}") : ConfigEdit.Set($"k{key}", $"{i}"));
            foreach (var overlay in new[] { "a", "b" })
            {
                if (random.Next(3) == 0)
                    edits.Add(random.Next(3) == 0 ? ConfigEdit.Delete($".overlays/{overlay}/.rule") : ConfigEdit.SetRule(overlay, percent: random.Next(2) * 100));
                foreach (var key in Enumerable.Range(0, 4).Where(_ => random.Next(4) == 0))
                    edits.Add(random.Next(4) == 0 ? ConfigEdit.Delete($".overlays/{overlay}/k{key}") : ConfigEdit.SetOverlay(overlay, $"k{key}", $"{overlay} {i}"));
            }

            if (edits.Count > 0)
                await CommitAsync([.. edits]);
        }

        var state = await ReachAsync();
        var expected = state.All(instance, "k").ToDictionary(pair => pair.Key, pair => pair.Value.Text);
        await Eventually.IsTrueAsync(() => told.Values.OrderBy(pair => pair.Key).SequenceEqual(expected.OrderBy(pair => pair.Key)), "it is told all");
        Assert.Empty(told.Faults);
        Assert.True(told.Deltas > 50);
    }

    [Fact]
    public async Task Reach_TheRevisionOfACommitThatChangesNothing_ComesToAnEnd()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"));
        var made = await _writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Delete("none")] });
        await _feed.ReachAsync(made.Revision, CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(5));
        Assert.True(_feed.State!.Revision < made.Revision);
        // And from then on at once.
        var known = _feed.AtLeastAsync(made.Revision, CancellationToken.None);
        Assert.True(known.IsCompletedSuccessfully);
        Assert.Equal("1", (await known).Find("a", null)!.Text);
    }

    /// <summary>
    /// A view that lags shows what is there now by chance, then what was there between. Neither is to be taken for the other: who
    /// asks for a revision is shown that one or a later one, and told so.
    /// </summary>
    [Fact]
    public async Task AtLeast_ChangedAndChangedBackWhileTheViewLags_ShowsThatRevisionAndNoEarlierOne()
    {
        // Takes no revision with a key that it has to complain of until it is let.
        using var lag = new LaggingLog();
        await using var feed = new ConfigFeed(_etcd, _feed.Layout, lag);
        var (b, odd) = (_feed.Layout.Key("b"), ByteString.CopyFrom([.. Encoding.UTF8.GetBytes(_feed.Layout.Prefix), 0xff]));
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await feed.ReachAsync(_last, CancellationToken.None);
        await WriteAsync(Txn.Put(odd, odd));
        await WriteAsync(Txn.Put(b, b), Txn.Delete(odd));
        await WriteAsync(Txn.Delete(b), Txn.Put(odd, odd));
        var last = await WriteAsync(Txn.Delete(odd));

        for (var i = 0; i < 2; i++)
            AssertShown(await feed.AtLeastAsync(last, CancellationToken.None));
        lag.Let();
        await Eventually.IsTrueAsync(() => feed.State!.Values.Count == 2, "the view shows what was there between");
        for (var i = 0; i < 2; i++)
            AssertShown(await feed.AtLeastAsync(last, CancellationToken.None));
        lag.Let();
        await feed.ReachAsync(last, CancellationToken.None);

        void AssertShown(ConfigState state)
        {
            Assert.Equal(["a"], state.Values.Keys);
            Assert.InRange(state.Revision, last, long.MaxValue);
        }

        async Task<long> WriteAsync(params Etcdserverpb.RequestOp[] writes) =>
            (await _etcd.TxnAsync(new Etcdserverpb.TxnRequest { Success = { writes } }, CancellationToken.None)).Header.Revision;
    }

    /// <summary>What etcd forgot while the watch was away cannot be told step by step, and is not to be told as if it were one.</summary>
    [Fact]
    public async Task HistoryCompactedWhileTheWatchWasAway_IsToldAsASnapshot()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var through = etcd.Server.Connect(through: proxy.Endpoint);
        await using var feed = new ConfigFeed(through, _feed.Layout, NullLogger.Instance);
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await feed.ReachAsync(_last, CancellationToken.None);
        var replay = new ConfigReplay();
        await using var subscription = await ConfigSubscription.StartAsync(Name, feed.NextAsync, replay.OnAsync, null, null, CancellationToken.None);
        await CommitAsync(ConfigEdit.Set("a", "2"));
        await Eventually.IsTrueAsync(() => replay.Deltas == 1, "the watch is there");
        proxy.Refuse();
        await CommitAsync(ConfigEdit.Set("a", "3"));
        await CommitAsync(ConfigEdit.Set("b", "1"));
        await etcd.Server.CompactAsync(await etcd.Server.GetRevisionAsync());
        proxy.Pass();
        await Eventually.IsTrueAsync(() => replay.Values.GetValueOrDefault("b") == "1", "the last is told");
        Assert.Equal((2, 1), (replay.Snapshots, replay.Deltas));
        // And step by step from there.
        await CommitAsync(ConfigEdit.Set("b", "2"));
        await Eventually.IsTrueAsync(() => replay.Deltas == 2, "the next is told");
        Assert.Equal(2, replay.Snapshots);
        Assert.Empty(replay.Faults);
    }

    [Fact]
    public async Task CommitWhoseAnswerIsLost_IsMadeOnce()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        await using var through = etcd.Server.Connect(through: proxy.Endpoint);
        await through.GetAsync("a");
        var writer = new ConfigWriter(through, _feed.Layout, historyLimit: 100);
        await writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", "0")] });
        for (var i = 0; i < 3; i++)
        {
            proxy.StallAnswers();
            var lost = writer.CommitAsync(new ConfigCommit { Edits = [ConfigEdit.Set("a", $"{i}")] });
            await Task.Delay(100);
            // Others go on meanwhile; some came before it, some after it.
            await CommitAsync(ConfigEdit.Set("b", $"{i}"));
            await CommitAsync(ConfigEdit.Set("a", $"after {i}"));
            proxy.BreakAll();
            proxy.Pass();
            var made = await lost;
            var history = await _writer.HistoryAsync(100, long.MaxValue);
            Assert.Single(history, entry => entry.Revision == made.Revision);
            Assert.Equal(4 + (3 * i), history.Length);
        }
    }

    [Fact]
    public void Restore_OfAnOlderState_IsToldAsAWhole_ThoughRevisionsComeToTheSameNumber()
    {
        var layout = new ConfigLayout("r/", "h/", Name);
        var key = ByteString.CopyFromUtf8("r/orders/a");
        static RevisionBatch Batch(RangeState state, long revision, ByteString key, string value) => state.Replace(new Etcdserverpb.RangeResponse
        {
            Header = new Etcdserverpb.ResponseHeader { ClusterId = 1, Revision = revision },
            Kvs = { new Mvccpb.KeyValue { Key = key, Value = ByteString.CopyFromUtf8(value), ModRevision = revision, CreateRevision = revision } },
        })!;
        var range = new RangeState();
        var first = ConfigState.Apply(null, Batch(range, 1000, key, "old"), layout, NullLogger.Instance).After;
        var restored = ConfigState.Apply(first, Batch(range, 995, key, "restored"), layout, NullLogger.Instance).After;
        Assert.NotEqual(first.Cursor.Stream, restored.Cursor.Stream);
        // One revision is never two states, whichever it is.
        var again = ConfigState.Apply(restored, Batch(range, 995, key, "another"), layout, NullLogger.Instance).After;
        Assert.NotEqual(restored.Cursor.Stream, again.Cursor.Stream);
    }

    [Fact]
    public async Task AtLeast_ARevisionOfSomethingElse_IsAnsweredByEtcdItself_AndOneToComeIsRefused()
    {
        await CommitAsync(ConfigEdit.Set("a", "1"));
        await ReachAsync();
        var elsewhere = await _etcd.PutAsync("elsewhere", "x");
        var state = await _feed.AtLeastAsync(elsewhere.Header.Revision, CancellationToken.None);
        Assert.Equal("1", state.Find("a", null)!.Text);
        Assert.Contains("yet", (await Assert.ThrowsAsync<EtcdException>(() => _feed.AtLeastAsync(long.MaxValue, CancellationToken.None))).Message);
    }

    /// <summary>Holds up every other line until it is let through.</summary>
    private sealed class LaggingLog : ILogger, IDisposable
    {
        private readonly SemaphoreSlim _let = new(0);
        private int _lines;

        public void Let() => _let.Release();

        public void Dispose() => _let.Dispose();

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (Interlocked.Increment(ref _lines) % 2 == 1)
                _let.Wait(TimeSpan.FromSeconds(30));
        }
    }

    private ConfigFeed Feed() => new(_etcd, new ConfigLayout(_root, _history, Name), NullLogger.Instance);

    private ConfigWriter Writer() => new(_etcd, _feed.Layout, historyLimit: 100);

    private async Task<ConfigCommitResult> CommitAsync(params ConfigEdit[] edits)
    {
        var result = await _writer.CommitAsync(new ConfigCommit { Edits = [.. edits] });
        _last = Math.Max(_last, result.Revision);
        return result;
    }

    private Task<IAsyncDisposable> SubscribeAsync(ConfigReplay replay, ConfigScope? scope = null) =>
        ConfigSubscription.StartAsync(Name, _feed.NextAsync, replay.OnAsync, scope, null, CancellationToken.None);

    /// <summary>The view as it is once it shows all that was written.</summary>
    private async Task<ConfigState> ReachAsync(long revision = 0)
    {
        await _feed.ReachAsync(Math.Max(revision, _last), CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(10));
        return _feed.State!;
    }
}

[Trait("Category", "Long")]
public sealed class ConfigFeedTestsOn34(SharedEtcd34 shared) : ConfigFeedTests(shared), IClassFixture<SharedEtcd34>;

public sealed class ConfigFeedTestsOn35(SharedEtcd35 shared) : ConfigFeedTests(shared), IClassFixture<SharedEtcd35>;
