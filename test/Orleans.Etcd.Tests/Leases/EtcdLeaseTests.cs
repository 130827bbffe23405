using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>The clock of one lease, by fake time: no server is asked.</summary>
public sealed class EtcdLeaseTests : IAsyncDisposable
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(9);
    private readonly FakeTimeProvider _time = new();
    private readonly EtcdConnection _etcd;

    public EtcdLeaseTests() => _etcd = new EtcdConnection(new() { Endpoints = { "http://127.0.0.1:1" } }, timeProvider: _time);

    public ValueTask DisposeAsync() => _etcd.DisposeAsync();

    [Fact]
    public async Task State_NothingAnswered_GoesFromHeldOverUnknownToLost()
    {
        var lease = NewLease();
        Assert.Equal(LeaseState.Held, lease.State);
        Assert.Equal(Ttl, lease.Remaining);
        _time.Advance(TimeSpan.FromSeconds(5));
        Assert.Equal(LeaseState.Unknown, lease.State);
        Assert.False(lease.Lost.IsCancellationRequested);
        _time.Advance(TimeSpan.FromSeconds(3.999));
        Assert.Equal(LeaseState.Unknown, lease.State);
        Assert.False(lease.Lost.IsCancellationRequested);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(LeaseState.Lost, lease.State);
        Assert.Equal(TimeSpan.Zero, lease.Remaining);
        await LostAsync(lease);
    }

    [Fact]
    public void Answered_InTime_CountsFromTheSending()
    {
        var lease = NewLease();
        _time.Advance(TimeSpan.FromSeconds(3));
        lease.Sending(_time.GetTimestamp());
        _time.Advance(TimeSpan.FromSeconds(4));
        lease.Answered(Ttl);
        Assert.Equal(TimeSpan.FromSeconds(5), lease.Remaining);
        _time.Advance(TimeSpan.FromSeconds(4.999));
        Assert.NotEqual(LeaseState.Lost, lease.State);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(LeaseState.Lost, lease.State);
    }

    [Fact]
    public async Task Answered_AfterTheDeadline_ChangesNothing()
    {
        var lease = NewLease();
        lease.Sending(_time.GetTimestamp());
        lease.Sending(_time.GetTimestamp());
        _time.Advance(Ttl);
        lease.Answered(Ttl);
        Assert.Equal(LeaseState.Lost, lease.State);
        await LostAsync(lease);
        lease.Answered(Ttl);
        Assert.Equal(LeaseState.Lost, lease.State);
        Assert.Equal(TimeSpan.Zero, lease.Remaining);
    }

    [Fact]
    public async Task Answered_GoneAtTheServer_IsLostAtOnce()
    {
        var lease = NewLease();
        lease.Sending(_time.GetTimestamp());
        lease.Answered(TimeSpan.Zero);
        Assert.Equal(LeaseState.Lost, lease.State);
        await LostAsync(lease);
    }

    [Fact]
    public void Answered_ToARenewalOfABrokenStream_IsIgnored()
    {
        var lease = NewLease();
        _time.Advance(TimeSpan.FromSeconds(3));
        lease.Sending(_time.GetTimestamp());
        lease.StreamLost(_time.GetTimestamp());
        lease.Answered(Ttl);
        Assert.Equal(TimeSpan.FromSeconds(6), lease.Remaining);
        Assert.Equal(_time.GetTimestamp(), lease.NextRenewal);
    }

    [Fact]
    public void NextRenewal_AfterSending_IsAThirdOfTheTtlAway()
    {
        var lease = NewLease();
        var now = _time.GetTimestamp();
        Assert.Equal(TimeSpan.FromSeconds(3), _time.GetElapsedTime(now, lease.NextRenewal));
        _time.Advance(TimeSpan.FromSeconds(3));
        lease.Sending(_time.GetTimestamp());
        Assert.Equal(TimeSpan.FromSeconds(6), _time.GetElapsedTime(now, lease.NextRenewal));
        Assert.Equal(TimeSpan.Zero, _time.GetElapsedTime(_time.GetTimestamp(), lease.OldestUnanswered!.Value));
    }

    [Fact]
    public async Task Abandon_Held_IsLostAndFinal()
    {
        var lease = NewLease();
        lease.Sending(_time.GetTimestamp());
        lease.Abandon();
        Assert.Equal(LeaseState.Lost, lease.State);
        lease.Answered(Ttl);
        Assert.Equal(LeaseState.Lost, lease.State);
        await LostAsync(lease);
    }

    [Fact]
    public async Task Lost_OneCallbackBlocksAndOneThrows_TheNextLeaseIsAnnouncedAllTheSame()
    {
        using var release = new ManualResetEventSlim();
        var (blocked, throwing, last) = (NewLease(), NewLease(), NewLease());
        blocked.Lost.Register(release.Wait);
        throwing.Lost.Register(static () => throw new InvalidOperationException("an owner's mistake"));
        try
        {
            _time.Advance(Ttl);
            await LostAsync(last);
            await LostAsync(throwing);
        }
        finally
        {
            release.Set();
        }
    }

    private EtcdLease NewLease() => new(_etcd.Leases, _time, 1, Ttl, _time.GetTimestamp());

    private static async Task LostAsync(EtcdLease lease)
    {
        var lost = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lease.Lost.Register(lost.SetResult);
        await lost.Task.WaitAsync(TimeSpan.FromSeconds(20));
    }
}
