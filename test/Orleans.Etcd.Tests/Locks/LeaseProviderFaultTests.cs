using System.Diagnostics;
using Orleans.Etcd.Tests.Testing;
using Orleans.LeaseProviders;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>A lease provider cut off from etcd, at the moment that matters, beside one that is not.</summary>
public sealed class LeaseProviderFaultTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private static readonly TimeSpan Timeout = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan Brief = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private TcpProxy _proxy = null!;
    private Leasing _cut = null!;
    private Leasing _direct = null!;

    public async Task InitializeAsync()
    {
        _proxy = TcpProxy.Start(shared.Server.Endpoint);
        _cut = new Leasing(shared.Server.Connect(options => options.RequestTimeout = Timeout, _proxy.Endpoint), _service);
        _direct = new Leasing(shared.Server.Connect(), _service);
        // Connected before a fault is timed.
        await _cut.KeysAsync();
    }

    public async Task DisposeAsync()
    {
        await _cut.DisposeAsync();
        await _direct.DisposeAsync();
        await _proxy.DisposeAsync();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task EtcdAway_IsATransientFailureInBoundedTime_AndLeavesNothing(bool refused)
    {
        var held = await _cut.HoldAsync("held", Long);
        var granted = await Leasing.GrantedAsync(shared.Server);
        if (refused)
            _proxy.Refuse();
        else
            _proxy.Stall();
        var since = Stopwatch.StartNew();
        var results = await _cut.Provider.Acquire(Leasing.Category, [.. Enumerable.Range(0, 20).Select(i => new LeaseRequest($"{i}", Long))]);
        Assert.Equal(Enumerable.Range(0, 20).Select(i => $"{i}"), results.Select(result => result.AcquiredLease!.ResourceKey));
        Assert.All(results.Append(await _cut.RenewAsync(held)), AssertTransient);
        Assert.True((await Assert.ThrowsAsync<EtcdException>(() => _cut.ReleaseAsync(held))).IsTransient);
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Timeout * 10);
        _proxy.Pass();
        await Eventually.IsTrueAsync(async () => (await _cut.RenewAsync(held)).StatusCode == ResponseCode.OK, "it is held as before");
        Assert.Equal(["queues/held"], (await _direct.KeysAsync()).Keys);
        Assert.Equal(granted, await Leasing.GrantedAsync(shared.Server));
    }

    [Fact]
    public async Task AnswerToTheGrant_NeverComes_LeavesNothing()
    {
        var (leases, granted) = (await Leasing.CountAsync(shared.Server), await Leasing.GrantedAsync(shared.Server));
        using (new BeforeRequests((operation, _) => Do(operation == "LeaseGrant", _proxy.StallAnswers)))
            AssertTransient(await _cut.AcquireAsync("a", Brief));
        await Eventually.IsTrueAsync(async () => await Leasing.GrantedAsync(shared.Server) == granted + 1, "the lease is granted");
        Assert.Empty(await _direct.KeysAsync());
        await Eventually.IsTrueAsync(async () => await Leasing.CountAsync(shared.Server) <= leases, "the lease is revoked, or expires");
        _proxy.Pass();
        await AssertHeldAsync(await _cut.AcquireAsync("a", Long));
    }

    [Fact]
    public async Task AnswerToTheCreate_LostWithItsConnection_IsAskedForAgain()
    {
        await using var patient = new Leasing(shared.Server.Connect(options => options.RequestTimeout = TimeSpan.FromSeconds(20), _proxy.Endpoint), _service);
        using var fault = new BeforeRequests((operation, count) => Do(operation == "Txn" && count == 0, _proxy.StallAnswers));
        var acquiring = patient.AcquireAsync("a", Long);
        await Eventually.IsTrueAsync(async () => (await _direct.KeysAsync()).Count == 1, "the key is created");
        _proxy.BreakAll();
        _proxy.Pass();
        await AssertHeldAsync(await acquiring);
    }

    [Fact]
    public async Task AnswerToTheCreate_NeverComes_IsReadFromTheKey()
    {
        using var fault = new BeforeRequests((operation, count) =>
        {
            Do(operation == "Txn", _proxy.StallAnswers);
            // The first read has looked whether the resource is free.
            Do(operation == "Range" && count == 1, _proxy.Pass);
        });
        await AssertHeldAsync(await _cut.AcquireAsync("a", Long));
    }

    [Fact]
    public async Task NoAnswer_FromTheCreateOn_BlocksTheResourceNoLongerThanItsTime()
    {
        var since = Stopwatch.StartNew();
        using (new BeforeRequests((operation, _) => Do(operation == "Txn", _proxy.StallAnswers)))
            AssertTransient(await _cut.AcquireAsync("a", Brief));
        AcquireLeaseResult next = null!;
        await Eventually.IsTrueAsync(async () => (next = await _direct.AcquireAsync("a", Long)).StatusCode == ResponseCode.OK, "it is free again");
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Brief + TimeSpan.FromSeconds(2));
        _proxy.Pass();
        Assert.Equal(ResponseCode.LeaseNotAvailable, (await _cut.AcquireAsync("a", Long)).StatusCode);
        await AssertHeldAsync(next);
    }

    /// <summary>Held back by the network, it reaches etcd when another has had the resource, and released it.</summary>
    [Fact]
    public async Task CreateIsDelivered_WhenNobodyWaitsForIt_IsNobodysForLongerThanItsTime()
    {
        using (new BeforeRequests((operation, _) => Do(operation == "Txn", _proxy.Stall)))
            AssertTransient(await _cut.AcquireAsync("a", Brief));
        await _direct.ReleaseAsync(await _direct.HoldAsync("a", Long));
        _proxy.Pass();
        var since = Stopwatch.StartNew();
        await _cut.KeysAsync();
        AcquireLeaseResult next = null!;
        await Eventually.IsTrueAsync(async () => (next = await _direct.AcquireAsync("a", Long)).StatusCode == ResponseCode.OK, "it is free again");
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Brief + TimeSpan.FromSeconds(1));
        await AssertHeldAsync(next);
    }

    /// <summary>A lease that is over before its holder hears of it.</summary>
    [Fact]
    public async Task AnswerThatComesTooLate_IsNoLease()
    {
        var moment = TimeSpan.FromMilliseconds(50);
        using (new BeforeRequests((operation, _) => Do(operation == "Txn", () => Thread.Sleep(moment * 2))))
        {
            var late = await _direct.AcquireAsync("a", moment);
            AssertTransient(late);
            Assert.Contains("0.05 s", late.FailureException!.Message);
        }

        await Eventually.IsTrueAsync(async () => (await _direct.KeysAsync()).Count == 0, "its lease is revoked");
    }

    private async Task AssertHeldAsync(AcquireLeaseResult result)
    {
        Assert.Equal(ResponseCode.OK, result.StatusCode);
        Assert.Equal(EtcdKeys.LeaseId(Assert.Single(await _direct.KeysAsync()).Value), result.AcquiredLease!.Token);
        Assert.Equal(ResponseCode.LeaseNotAvailable, (await _direct.AcquireAsync("a", Long)).StatusCode);
        Assert.Equal(ResponseCode.OK, (await _direct.RenewAsync(result.AcquiredLease!)).StatusCode);
    }

    private static void AssertTransient(AcquireLeaseResult result)
    {
        Assert.Equal(ResponseCode.TransientFailure, result.StatusCode);
        Assert.Null(result.AcquiredLease!.Token);
        Assert.True(Assert.IsType<EtcdException>(result.FailureException).IsTransient);
    }

    private static void Do(bool now, Action fault)
    {
        if (now)
            fault();
    }
}
