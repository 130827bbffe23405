using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>The clock of one lease, by fake time: no server is asked.</summary>
public sealed class EtcdLeaseTests : IAsyncDisposable
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(9);

    // It is taken for lost this much before the server may expire it.
    private static readonly TimeSpan Margin = TimeSpan.FromSeconds(0.5);
    private readonly FakeTimeProvider _time = new();
    private readonly EtcdConnection _etcd;

    public EtcdLeaseTests() => _etcd = new EtcdConnection(new() { Endpoints = { "http://127.0.0.1:1" } }, timeProvider: _time);

    public ValueTask DisposeAsync() => _etcd.DisposeAsync();

    [Fact]
    public async Task State_NothingAnswered_GoesFromHeldOverUnknownToLost()
    {
        var lease = NewLease();
        Assert.Equal(LeaseState.Held, lease.State);
        Assert.Equal(Ttl - Margin, lease.Remaining);
        _time.Advance(Ttl / 2);
        Assert.Equal(LeaseState.Held, lease.State);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(LeaseState.Unknown, lease.State);
        Assert.False(lease.Lost.IsCancellationRequested);
        _time.Advance((Ttl / 2) - Margin - TimeSpan.FromMilliseconds(2));
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
        Assert.Equal(TimeSpan.FromSeconds(5) - Margin, lease.Remaining);
        _time.Advance(lease.Remaining - TimeSpan.FromMilliseconds(1));
        Assert.NotEqual(LeaseState.Lost, lease.State);
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Assert.Equal(LeaseState.Lost, lease.State);
    }

    [Theory]
    [InlineData(1, 0.1)]
    [InlineData(4, 0.4)]
    [InlineData(60, 0.5)]
    public void Lost_Margin_IsATenthOfTheTtlAndAtMostHalfASecond(double ttl, double margin) =>
        Assert.Equal(TimeSpan.FromSeconds(ttl - margin), NewLease(TimeSpan.FromSeconds(ttl)).Remaining);

    /// <summary>The timer that announces the loss is late, as on a busy machine: the answer is, too.</summary>
    [Fact]
    public async Task Answered_AfterTheDeadline_ChangesNothing()
    {
        var time = new LateTimers();
        await using var etcd = new EtcdConnection(new() { Endpoints = { "http://127.0.0.1:1" } }, timeProvider: time);
        var lease = new EtcdLease(etcd.Leases, time, 1, Ttl, time.GetTimestamp());
        lease.Sending(time.GetTimestamp());
        lease.Sending(time.GetTimestamp());
        time.Now += (Ttl - Margin).Ticks;
        Assert.False(lease.HasEnded);
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
        Assert.Equal(TimeSpan.FromSeconds(6) - Margin, lease.Remaining);
        Assert.Equal(_time.GetTimestamp(), lease.NextRenewal);
    }

    /// <summary>Of many leases, those that were just answered wait for the others.</summary>
    [Fact]
    public void StreamLost_NothingOwed_KeepsItsTurn()
    {
        var lease = NewLease();
        lease.Sending(_time.GetTimestamp());
        lease.Answered(Ttl);
        var next = lease.NextRenewal;
        _time.Advance(TimeSpan.FromSeconds(1));
        lease.StreamLost(_time.GetTimestamp());
        Assert.Equal(next, lease.NextRenewal);
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

    private EtcdLease NewLease(TimeSpan? ttl = null) => new(_etcd.Leases, _time, 1, ttl ?? Ttl, _time.GetTimestamp());

    private static async Task LostAsync(EtcdLease lease)
    {
        var lost = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var registration = lease.Lost.Register(lost.SetResult);
        await lost.Task.WaitAsync(TimeSpan.FromSeconds(20));
    }

    /// <summary>Time passes, and no timer notices.</summary>
    private sealed class LateTimers : TimeProvider
    {
        public long Now { get; set; }

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Now;

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            new Never();

        private sealed class Never : ITimer
        {
            public bool Change(TimeSpan dueTime, TimeSpan period) => true;

            public void Dispose()
            {
            }

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
