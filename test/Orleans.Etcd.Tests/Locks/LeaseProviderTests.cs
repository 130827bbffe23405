using System.Globalization;
using Orleans.Etcd.Tests.Testing;
using Orleans.LeaseProviders;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Two lease providers of one service, as two silos have them.</summary>
public sealed class LeaseProviderTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private static readonly TimeSpan Short = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private Leasing _one = null!;
    private Leasing _two = null!;

    public Task InitializeAsync()
    {
        _one = new Leasing(shared.Server.Connect(), _service);
        _two = new Leasing(shared.Server.Connect(), _service);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _one.DisposeAsync();
        await _two.DisposeAsync();
    }

    [Fact]
    public async Task Acquire_FreeResource_IsTakenUntilItIsReleased()
    {
        var before = DateTime.UtcNow;
        var held = await _one.HoldAsync("a", Long);
        Assert.Equal(("a", Long), (held.ResourceKey, held.Duration));
        Assert.InRange(held.StartTimeUtc, before, DateTime.UtcNow);
        Assert.Equal(DateTimeKind.Utc, held.StartTimeUtc.Kind);
        var (key, lease) = Assert.Single(await _one.KeysAsync());
        Assert.Equal(("queues/a", held.Token), (key, lease.ToString("x", CultureInfo.InvariantCulture)));
        Assert.Contains(Environment.MachineName, (await _one.Etcd.GetAsync($"orleans/{_service}/leases/queues/a"))!.Value.ToStringUtf8());

        foreach (var other in new[] { _two, _one })
        {
            var taken = await other.AcquireAsync("a", Long);
            Assert.Equal(ResponseCode.LeaseNotAvailable, taken.StatusCode);
            Assert.Equal(("a", null), (taken.AcquiredLease!.ResourceKey, taken.AcquiredLease!.Token));
            Assert.NotNull(taken.FailureException);
        }

        // By whom is not the point, but that he has the token.
        await _two.ReleaseAsync(held);
        await _one.ReleaseAsync(held);
        Assert.Empty(await _one.KeysAsync());
        Assert.NotEqual(held.Token, (await _two.HoldAsync("a", Long)).Token);
    }

    [Fact]
    public async Task Acquire_HolderDoesNotRenew_IsGrantedAfterItsTime_AndTheOldTokenIsWorthNothing()
    {
        var old = await _one.HoldAsync("a", Short);
        AcquireLeaseResult next = null!;
        await Eventually.IsTrueAsync(async () => (next = await _two.AcquireAsync("a", Long)).StatusCode == ResponseCode.OK, "a lease that is not renewed expires");
        Assert.InRange(next.AcquiredLease!.StartTimeUtc, old.StartTimeUtc + old.Duration, DateTime.MaxValue);
        Assert.Equal(ResponseCode.InvalidToken, (await _one.RenewAsync(old)).StatusCode);
        await _one.ReleaseAsync(old);
        Assert.Equal(ResponseCode.OK, (await _two.RenewAsync(next.AcquiredLease!)).StatusCode);
    }

    [Fact]
    public async Task Renew_InTime_KeepsTheResource_ForNoLongerThanItWasGranted()
    {
        var first = await _one.HoldAsync("a", TimeSpan.FromSeconds(2.5));
        var held = first;
        while (DateTime.UtcNow < first.StartTimeUtc + TimeSpan.FromSeconds(4))
        {
            await Task.Delay(500);
            var before = DateTime.UtcNow;
            var renewed = await _one.RenewAsync(held);
            Assert.Equal(ResponseCode.OK, renewed.StatusCode);
            Assert.InRange(renewed.AcquiredLease!.StartTimeUtc, before, DateTime.UtcNow);
            held = renewed.AcquiredLease!;
            Assert.Equal(("a", first.Token, first.Duration), (held.ResourceKey, held.Token, held.Duration));
            Assert.Equal(ResponseCode.LeaseNotAvailable, (await _two.AcquireAsync("a", Long)).StatusCode);
        }

        var greedy = await _one.RenewAsync(new AcquiredLease("a", Long, held.Token, held.StartTimeUtc));
        Assert.Equal(TimeSpan.FromSeconds(3), greedy.AcquiredLease!.Duration);
    }

    [Fact]
    public async Task WrongToken_TouchesNobody()
    {
        var held = await _one.HoldAsync("a", Long);
        var other = await _one.HoldAsync("b", Long);
        await using var stranger = await _one.Etcd.Leases.GrantAsync(Long, CancellationToken.None);
        await Task.Delay(1100);
        foreach (var token in new[] { null, "", "x", "0", "-1", " " + held.Token, "0" + held.Token, "7fffffffffffffff", "ffffffffffffffff", other.Token, EtcdKeys.LeaseId(stranger.Id) })
        {
            var wrong = token is null ? new AcquiredLease("a") : new AcquiredLease("a", Long, token, DateTime.UtcNow);
            var result = await _two.RenewAsync(wrong);
            Assert.Equal(ResponseCode.InvalidToken, result.StatusCode);
            Assert.Equal(("a", null), (result.AcquiredLease!.ResourceKey, result.AcquiredLease!.Token));
            await _two.ReleaseAsync(wrong);
        }

        // Neither revoked nor renewed.
        foreach (var lease in new[] { held.Token!, other.Token! }.Select(token => long.Parse(token, NumberStyles.HexNumber, CultureInfo.InvariantCulture)))
            Assert.InRange((await _one.Etcd.TimeToLiveAsync(lease, keys: false, CancellationToken.None)).TTL, 1, 59);
        Assert.True((await _one.Etcd.TimeToLiveAsync(stranger.Id, keys: false, CancellationToken.None)).TTL > 0);
        Assert.Equal(2, (await _one.KeysAsync()).Count);
    }

    [Fact]
    public async Task Batch_OfFifty_IsAnsweredInItsOrder()
    {
        for (var i = 0; i < 50; i += 7)
            await _one.HoldAsync($"{i}", Long);
        var results = await _two.Provider.Acquire(Leasing.Category, Requests(50));
        Assert.Equal(Enumerable.Range(0, 50).Select(i => $"{i}"), results.Select(result => result.AcquiredLease!.ResourceKey));
        Assert.All(results, (result, i) => Assert.Equal(i % 7 == 0 ? ResponseCode.LeaseNotAvailable : ResponseCode.OK, result.StatusCode));

        AcquiredLease[] held = [.. results.Select(result => result.AcquiredLease!)];
        var renewed = await _two.Provider.Renew(Leasing.Category, held);
        Assert.All(renewed, (result, i) => Assert.Equal(i % 7 == 0 ? ResponseCode.InvalidToken : ResponseCode.OK, result.StatusCode));
        Assert.Equal(held.Select(lease => (lease.ResourceKey, lease.Token)), renewed.Select(result => (result.AcquiredLease!.ResourceKey, result.AcquiredLease!.Token)));
        await _two.Provider.Release(Leasing.Category, held);
        Assert.Equal(8, (await _one.KeysAsync()).Count);
        Assert.Empty(await _two.Provider.Acquire(Leasing.Category, []));
    }

    [Fact]
    public async Task TwoProviders_AskingForTheSameFifty_AreGrantedEachOnce_AndNoLeaseIsLeftOver()
    {
        var leases = await Leasing.CountAsync(shared.Server);
        var results = await Task.WhenAll(new[] { _one, _two, _one, _two }.Select(each => Task.Run(() => each.Provider.Acquire(Leasing.Category, Requests(50)))));
        var granted = results.SelectMany(one => one).Where(result => result.StatusCode == ResponseCode.OK).Select(result => result.AcquiredLease!).ToList();
        Assert.Equal(50, granted.Select(lease => lease.ResourceKey).Distinct().Count());
        Assert.Equal(50, granted.Count);
        Assert.All(results.SelectMany(one => one), result => Assert.True(result.StatusCode is ResponseCode.OK or ResponseCode.LeaseNotAvailable));
        var keys = await _one.KeysAsync();
        Assert.All(granted, lease => Assert.Equal(lease.Token, EtcdKeys.LeaseId(keys[$"queues/{lease.ResourceKey}"])));
        await Eventually.IsTrueAsync(async () => await Leasing.CountAsync(shared.Server) <= leases + 50, "the leases of those that came second are revoked");
    }

    [Fact]
    public async Task Names_WithSlashes_AreOthers()
    {
        (string Category, string Resource)[] names = [("a", "b"), ("a", "a/b"), ("a/b", "b"), ("a", "a%2Fb"), ("a", "b/b")];
        foreach (var (category, resource) in names)
            Assert.Equal(ResponseCode.OK, Assert.Single(await _one.Provider.Acquire(category, [new LeaseRequest(resource, Long)])).StatusCode);
        Assert.Equal(["a%2Fb/b", "a/a%252Fb", "a/a%2Fb", "a/b", "a/b%2Fb"], (await _one.KeysAsync()).Keys.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task BadInput_IsRefusedBeforeAnythingIsSent()
    {
        var good = new LeaseRequest("a", Long);
        foreach (var category in new[] { null, "", "\ud800" })
            await Assert.ThrowsAnyAsync<ArgumentException>(() => _one.Provider.Acquire(category!, [good]));
        foreach (var bad in new[] { null, new LeaseRequest(null!, Long), new LeaseRequest("", Long), new LeaseRequest(new string('a', 1025), Long), new LeaseRequest("b", default), new LeaseRequest("b", -Long), new LeaseRequest("b", TimeSpan.FromDays(366)) })
            await Assert.ThrowsAnyAsync<ArgumentException>(() => _one.Provider.Acquire(Leasing.Category, [good, bad!]));
        foreach (var bad in new[] { null, new AcquiredLease(""), new AcquiredLease("a", default, "1", default), new AcquiredLease("a", TimeSpan.MaxValue, "1", default) })
        {
            await Assert.ThrowsAnyAsync<ArgumentException>(() => _one.Provider.Renew(Leasing.Category, [bad!]));
            await Assert.ThrowsAnyAsync<ArgumentException>(() => _one.Provider.Release(Leasing.Category, [bad!]));
        }

        await Assert.ThrowsAsync<ArgumentNullException>(() => _one.Provider.Acquire(Leasing.Category, null!));
        await Assert.ThrowsAsync<ArgumentNullException>(() => _one.Provider.Renew(Leasing.Category, null!));
        await Assert.ThrowsAsync<ArgumentNullException>(() => _one.Provider.Release(Leasing.Category, null!));
        Assert.Empty(await _one.KeysAsync());
    }

    private static LeaseRequest[] Requests(int count) => [.. Enumerable.Range(0, count).Select(i => new LeaseRequest($"{i}", Long))];
}
