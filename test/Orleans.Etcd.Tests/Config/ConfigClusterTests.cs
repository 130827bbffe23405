using System.Diagnostics;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Config;

/// <summary>Configuration as grains, silos and clients of a cluster of three have it.</summary>
public sealed class ConfigClusterTests(Locks.LockCluster cluster, ITestOutputHelper output) : IClassFixture<Locks.LockCluster>
{
    private readonly string _name = cluster.NewName();

    private IConfigGrain Config => cluster.Client.GetGrain<IConfigGrain>(_name);

    [Fact]
    public async Task Values_AreReadTyped_AndWithoutARequestToEtcd()
    {
        await Config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set("limit", "42"), ConfigEdit.Set("wait", "00:00:05")], Author = "test" });
        await Eventually.IsTrueAsync(async () => await Config.Get<int>("limit") == 42, "it is seen");
        var before = await Metrics.ReadAsync(cluster.Etcd, "grpc_server_handled_total", "grpc_method=\"Range\"");
        for (var i = 0; i < 100; i++)
        {
            Assert.Equal(TimeSpan.FromSeconds(5), await Config.Get<TimeSpan>("wait"));
            Assert.Equal("42", (await Config.Get("limit"))!.Text);
            Assert.Equal(7, await Config.Get("none", 7));
            Assert.Null(await Config.Get("none"));
            Assert.Equal(2, (await Config.GetAll()).Values.Count);
        }

        // Others of the class and the cluster itself ask a few things meanwhile.
        Assert.InRange(await Metrics.ReadAsync(cluster.Etcd, "grpc_server_handled_total", "grpc_method=\"Range\"") - before, 0, 50);
        Assert.Contains("'limit'", (await Assert.ThrowsAsync<FormatException>(() => Config.Get<TimeSpan[]>("limit"))).Message);
    }

    [Fact]
    public async Task Commit_IsSeenByTheNextRead_OnAnySilo()
    {
        // Grains are placed at random: of twelve, all miss one of the silos one time in 43.
        var silos = new List<IConfigUser>();
        var places = new HashSet<SiloAddress>();
        while (silos.Count < 12 || (places.Count < 3 && silos.Count < 200))
        {
            silos.Add(cluster.Client.GetGrain<IConfigUser>(silos.Count + 1000));
            places.Add(await silos[^1].Here());
        }

        Assert.Equal(3, places.Count);
        for (var i = 0; i < 50; i++)
        {
            var made = await Config.Set("a", $"{i}");
            Assert.Equal($"{i}", (await Config.Get("a", new ConfigRead { MinRevision = made.Revision }))!.Text);
            Assert.True((await Config.GetAll(new ConfigRead { MinRevision = made.Revision })).Revision >= made.Revision);
            Assert.All(await Task.WhenAll(silos.Select(silo => silo.Read(_name, "a", made.Revision))), value => Assert.Equal($"{i}", value));
        }
    }

    [Fact]
    public async Task Conflict_HistoryAndRollback_ThroughTheGrain()
    {
        var made = await Config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set("a", "1")], Author = "me", Reason = "begin" });
        var refused = await Config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set("a", "2") with { ExpectedRevision = 0 }] });
        Assert.Equal(("a", "1"), (refused.Conflict!.Key, refused.Conflict.Current!.Text));
        await Config.Commit(new ConfigCommit { Edits = [ConfigEdit.Set("a", "2") with { ExpectedRevision = made.Revision }] });
        var back = await Config.Rollback(made.Revision, "me");
        Assert.Equal("1", (await Config.Get("a", new ConfigRead { MinRevision = back.Revision }))!.Text);
        var history = await Config.History();
        Assert.Equal([3L, 2L, 1L], history.Select(entry => entry.Sequence));
        Assert.Equal(("me", "begin", made.Revision), (history[2].Author, history[2].Reason, history[2].Revision));
        await Assert.ThrowsAsync<ArgumentException>(() => Config.Commit(new ConfigCommit { Edits = [] }));
        await Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => Config.History(0));
        Assert.Contains("namespace", (await Assert.ThrowsAnyAsync<ArgumentException>(() => cluster.Client.GetGrain<IConfigGrain>(new string('x', 1025)).Get("a"))).Message);
    }

    [Fact]
    public async Task Subscriptions_OfAClientAndOfGrains_AreToldTheSame_AndGrainsInTheirOwnTurns()
    {
        var replay = new ConfigReplay();
        await using var subscription = await Config.SubscribeAsync(replay.OnAsync);
        var users = Enumerable.Range(2000, 6).Select(i => cluster.Client.GetGrain<IConfigUser>(i)).ToArray();
        await Task.WhenAll(users.Select(user => user.Subscribe(_name)));
        for (var i = 0; i < 100; i++)
            await cluster.Connection.PutAsync($"orleans/{cluster.ServiceId}/config/{_name}/key{i % 7}", $"{i}");
        await Eventually.IsTrueAsync(() => replay.Values.GetValueOrDefault("key1") == "99", "the client is told");
        foreach (var user in users)
        {
            await Eventually.IsTrueAsync(async () => (await user.Told())!.Revision == replay.Revision, "the grain is told");
            var told = (await user.Told())!;
            Assert.Empty(told.Faults);
            Assert.Equal(replay.Values, told.Values);
        }

        Assert.Empty(replay.Faults);
    }

    [Fact]
    public async Task Subscription_OnSilosThatServeNone_OrOfABadName_Fails()
    {
        await Assert.ThrowsAnyAsync<ArgumentException>(() => cluster.Client.GetGrain<IConfigGrain>(new string('x', 1025)).SubscribeAsync(_ => Task.CompletedTask));
        using var stop = new CancellationTokenSource();
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Config.SubscribeAsync(_ => Task.CompletedTask, cancellationToken: stop.Token));
    }

    [Fact]
    public async Task Observers_SlowAndDeadOnesAmongAThousand_DelayNobody()
    {
        var good = Enumerable.Range(0, 900).Select(_ => new Observer()).ToArray();
        var slow = Enumerable.Range(0, 50).Select(_ => new Observer { Delay = TimeSpan.FromSeconds(5) }).ToArray();
        var dead = Enumerable.Range(0, 50).Select(_ => new Observer()).ToArray();
        // Namespaces of their own, that the three silos share them.
        var names = Enumerable.Range(0, 6).Select(i => $"{_name}-{i}").ToArray();
        var references = new List<IConfigObserver>();
        await SubscribeAsync(good);
        var alone = await MeasureAsync(rounds: 8);
        await SubscribeAsync(slow);
        await SubscribeAsync(dead);
        foreach (var reference in references.TakeLast(dead.Length))
            cluster.Client.DeleteObjectReference<IConfigObserver>(reference);
        var together = await MeasureAsync(rounds: 8);
        output.WriteLine($"900 alone: {string.Join(' ', alone.Select(time => $"{time.TotalMilliseconds:0}"))} ms; with 50 slow and 50 dead: {string.Join(' ', together.Select(time => $"{time.TotalMilliseconds:0}"))} ms");
        Assert.InRange(Median(together) / Median(alone), 0, 1.5);
        Assert.Empty(good.SelectMany(observer => observer.Replay.Faults));
        Assert.All(slow, observer => Assert.Empty(observer.Replay.Faults));

        async Task SubscribeAsync(Observer[] observers)
        {
            for (var i = 0; i < observers.Length; i++)
            {
                references.Add(cluster.Client.CreateObjectReference<IConfigObserver>(observers[i]));
                await cluster.Client.GetGrain<IConfigGrain>(names[i % names.Length]).Subscribe(references[^1]);
            }
        }

        async Task<List<TimeSpan>> MeasureAsync(int rounds)
        {
            var times = new List<TimeSpan>();
            for (var round = -2; round < rounds; round++)
            {
                var value = Guid.NewGuid().ToString();
                var clock = Stopwatch.StartNew();
                await Task.WhenAll(names.Select(name => cluster.Client.GetGrain<IConfigGrain>(name).Set("a", value)));
                await Eventually.IsTrueAsync(() => good.All(observer => observer.Last == value), "all are told");
                // The first ones warm up.
                if (round >= 0)
                    times.Add(clock.Elapsed);
            }

            return times;
        }

        static double Median(IEnumerable<TimeSpan> times) => times.Select(time => time.TotalMilliseconds).Order().ElementAt(times.Count() / 2);
    }

    [Fact]
    public async Task Observer_ThatUnsubscribed_IsToldNothingMore_AndOneThatThrowsIsToldAgain()
    {
        var (gone, failing) = (new Observer(), new Observer { Failures = 2 });
        var (one, two) = (cluster.Client.CreateObjectReference<IConfigObserver>(gone), cluster.Client.CreateObjectReference<IConfigObserver>(failing));
        await Config.Subscribe(one);
        await Config.Subscribe(two);
        await Config.Set("a", "1");
        await Eventually.IsTrueAsync(() => gone.Last == "1" && failing.Last == "1", "both are told");
        await Config.Unsubscribe(one);
        await Config.Set("a", "2");
        await Eventually.IsTrueAsync(() => failing.Last == "2", "the other is told");
        Assert.Equal("1", gone.Last);
        Assert.Empty(failing.Replay.Faults);
    }

    private sealed class Observer : IConfigObserver
    {
        private int _failures;

        public TimeSpan Delay { get; init; }

        public int Failures { get; init; }

        public ConfigReplay Replay { get; } = new();

        public string? Last { get; private set; }

        public async Task OnConfig(ConfigNotification notification)
        {
            if (_failures++ < Failures)
                throw new InvalidOperationException("of a user's");
            Replay.On(notification);
            Last = Replay.Values.GetValueOrDefault("a");
            if (Delay > TimeSpan.Zero)
                await Task.Delay(Delay);
        }
    }
}
