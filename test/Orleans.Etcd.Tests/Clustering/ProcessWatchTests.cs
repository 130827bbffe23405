using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Configuration;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>
/// One silo that pings others, with a real table and real keys, of which there are only a row, a key, what they answer, and
/// an endpoint that listens or refuses.
/// </summary>
public sealed class ProcessWatchTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(200);
    private static readonly SiloAddress Self = Silos.Address(1);
    private static readonly SiloAddress Other = Silos.Address(2);

    private readonly ConcurrentDictionary<SiloAddress, Answering> _silos = [];
    private readonly CancellationTokenSource _stop = new();
    private readonly List<Task> _watching = [];
    private EtcdConnection _etcd = null!;
    private EtcdMembershipTable _table = null!;
    private Membership _membership = null!;
    private LiveView _keys = null!;

    public async Task InitializeAsync()
    {
        _etcd = shared.Server.Connect();
        _table = _etcd.Table(new ClusterOptions { ServiceId = "service", ClusterId = $"{Guid.NewGuid():N}" });
        await _table.InitializeMembershipTableAsync(true);
        _membership = new Membership(_table);
        _keys = new LiveView(_etcd, _table.Layout.LivenessPrefix);
    }

    public async Task DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_watching);
        await _keys.DisposeAsync();
        await _table.DisposeAsync();
        await _etcd.DisposeAsync();
        _stop.Dispose();
    }

    [Fact]
    public async Task SiloThatRefusesTwoPingsInARow_LosesItsKey()
    {
        await AddAsync(Self, Other);
        await WatchAsync(Self);
        Refuses(Other);
        await GoneAsync(Other);
        Assert.True(_silos[Other].Pings >= 2);
        Assert.NotNull(await _etcd.GetAsync(Key(Self)));
    }

    [Fact]
    public async Task SiloThatRefusesOnePingOfTwo_KeepsItsKey()
    {
        await AddAsync(Self, Other);
        var pings = 0;
        _silos[Other].Ping = () => ++pings % 2 == 0 ? Task.CompletedTask : Failed();
        await WatchAndKeepAsync(Other, pings: 8);
    }

    [Fact]
    public async Task SiloThatCannotBePinged_ButListens_KeepsItsKey()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var silo = SiloAddress.New(IPAddress.Loopback, ((IPEndPoint)listener.LocalEndpoint).Port, 1);
        await AddAsync(Self, silo);
        Refuses(silo);
        await WatchAndKeepAsync(silo, pings: 5);
        // That was what kept it.
        listener.Stop();
        await GoneAsync(silo);
    }

    [Fact]
    public async Task SiloThatIsSilent_KeepsItsKey()
    {
        await AddAsync(Self, Other);
        _silos[Other].Ping = () => new TaskCompletionSource().Task;
        await WatchAndKeepAsync(Other, pings: 3);
    }

    [Fact]
    public async Task SiloThatWritesItsKeyAnewMeanwhile_KeepsIt()
    {
        await AddAsync(Self, Other);
        _silos[Other].Ping = async () =>
        {
            await _etcd.PutAsync(Key(Other), "anew");
            await Failed();
        };
        await WatchAndKeepAsync(Other, pings: 7);
    }

    [Fact]
    public async Task Refusals_AreHalfAnIntervalApart_HoweverLongAPingTakes()
    {
        await AddAsync(Self, Other);
        ConcurrentQueue<long> times = [];
        _silos[Other].Ping = async () =>
        {
            times.Enqueue(Stopwatch.GetTimestamp());
            await Task.Delay(Interval * 0.75);
            times.Enqueue(Stopwatch.GetTimestamp());
            await Failed();
        };
        await WatchAsync(Self);
        await GoneAsync(Other);
        var pings = times.ToArray();
        Assert.Equal(4, pings.Length);
        // Timers have steps of a millisecond or so.
        Assert.InRange(Stopwatch.GetElapsedTime(pings[1], pings[2]), (Interval / 2) - TimeSpan.FromMilliseconds(5), TimeSpan.MaxValue);
    }

    [Fact]
    public async Task SiloThatHasNotJoinedYet_PingsNobody()
    {
        await _table.InsertAsync(Silos.Entry(1, SiloStatus.Joining));
        await AddAsync(Other, Silos.Address(3));
        await KeyedAsync(Self);
        await WatchAsync(Self);
        await Task.Delay(Interval * 4);
        Assert.All(_silos.Values, silo => Assert.Equal(0, silo.Pings));
    }

    [Fact]
    public async Task SiloThatMakesItsKeyAgain_KeepsThat()
    {
        await AddAsync(Self, Other);
        Refuses(Other);
        await WatchAsync(Self);
        await GoneAsync(Other);
        // It is still known for one whose key was taken when it has been gone for a while.
        await _keys.WaitAsync(view => view.Values.Count == 1, CancellationToken.None);
        await Task.Delay(Interval * 2);
        await _etcd.PutAsync(Key(Other), "again");
        var pings = _silos[Other].Pings;
        await Task.Delay(Interval * 5);
        Assert.NotNull(await _etcd.GetAsync(Key(Other)));
        Assert.Equal(pings, _silos[Other].Pings);
    }

    [Fact]
    public async Task SiloThatIsNotActive_IsNotPinged()
    {
        await _table.InsertAsync(Silos.Entry(3, SiloStatus.Joining), Silos.Entry(4, SiloStatus.ShuttingDown), Silos.Entry(5, SiloStatus.Dead));
        foreach (var silo in new[] { 3, 4, 5 })
            await KeyedAsync(Silos.Address(silo));
        await AddAsync(Self, Other);
        await WatchAsync(Self);
        await Eventually.IsTrueAsync(() => _silos[Other].Pings >= 3, "the other is pinged");
        Assert.All([3, 4, 5], silo => Assert.Equal(0, _silos[Silos.Address(silo)].Pings));
    }

    [Fact]
    public async Task Silos_PingSoManyOfTheOthers_AndNoneIsLeftOut()
    {
        const int Count = 3;
        SiloAddress[] all = [.. Enumerable.Range(1, 8).Select(number => Silos.Address(number))];
        await AddAsync(all);
        ConcurrentDictionary<(SiloAddress From, SiloAddress To), int> pings = [];
        foreach (var silo in all)
            await WatchAsync(silo, Count, to => new Answering { Ping = () => Task.FromResult(pings.AddOrUpdate((silo, to), 1, (_, count) => count + 1)) });
        await Eventually.IsTrueAsync(() => pings.Count == all.Length * Count && pings.Values.All(count => count >= 3), "all that are pinged were so a few times");
        Assert.All(all, silo => Assert.Equal(Count, pings.Keys.Count(ping => ping.From.Equals(silo))));
        Assert.All(all, silo => Assert.Equal(Count, pings.Keys.Count(ping => ping.To.Equals(silo))));
        Assert.DoesNotContain(pings.Keys, ping => ping.From.Equals(ping.To));
    }

    private static Task Failed() => Task.FromException(new OrleansException("no connection"));

    private void Refuses(SiloAddress silo) => _silos[silo].Ping = Failed;

    private async Task AddAsync(params SiloAddress[] silos)
    {
        foreach (var silo in silos)
        {
            var entry = Silos.Entry(1);
            entry.SiloAddress = silo;
            await _table.InsertAsync(entry);
            await KeyedAsync(silo);
        }
    }

    private async Task KeyedAsync(SiloAddress silo)
    {
        _silos[silo] = new Answering();
        var written = await _etcd.PutAsync(Key(silo), "");
        await _keys.WaitAsync(view => view.Revision >= written.Header.Revision, CancellationToken.None);
    }

    private async Task WatchAsync(SiloAddress self, int count = 3, Func<SiloAddress, ILivenessService>? serviceOf = null)
    {
        await _membership.Refresh();
        var probe = new LivenessProbe(serviceOf ?? (silo => _silos[silo]), Interval, TimeProvider.System);
        var watch = new ProcessWatch(_keys, _table, _membership, probe, Interval, count, self, TimeProvider.System, NullLogger.Instance);
        _watching.Add(Task.Run(() => watch.RunAsync(_stop.Token)));
    }

    /// <summary>The silo is pinged so often, and its key is there after that.</summary>
    private async Task WatchAndKeepAsync(SiloAddress silo, int pings)
    {
        await WatchAsync(Self);
        await Eventually.IsTrueAsync(() => _silos[silo].Pings >= pings, "it was pinged often");
        Assert.NotNull(await _etcd.GetAsync(Key(silo)));
    }

    private Task GoneAsync(SiloAddress silo) => Eventually.IsTrueAsync(async () => await _etcd.GetAsync(Key(silo)) is null, $"the key of {silo} is gone");

    private string Key(SiloAddress silo) => _table.Layout.LivenessKey(silo).ToStringUtf8();
}
