using Google.Protobuf;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

public sealed class LeaseLossesTests
{
    private static readonly TimeSpan Window = TimeSpan.FromSeconds(4);

    private readonly FakeTimeProvider _time = new();
    private readonly LeaseLosses _losses;

    public LeaseLossesTests() => _losses = new LeaseLosses(_time);

    [Fact]
    public void Lease_NeverSeen_IsLostWhenItHasBeenMissingForTheWindow()
    {
        Look(present: [1, 2], living: [1, 2, 3]);
        AssertLost();
        Assert.True(_losses.AnyMissing);
        _time.Advance(Window);
        Look(present: [1, 2], living: [1, 2, 3]);
        AssertLost();
        _time.Advance(TimeSpan.FromMilliseconds(1));
        Look(present: [1, 2], living: [1, 2, 3]);
        AssertLost(3);
        Assert.True(_losses.Open.Single().WasNeverSeen);
        Assert.False(_losses.AnyMissing);
        Look(present: [1, 2, 3], living: [1, 2, 3]);
        AssertLost();
    }

    [Fact]
    public void Leases_NeverSeen_ThatComeInTime_OrWhoseSilosLeave_AreNotLost()
    {
        Look(present: [1, 2], living: [1, 2, 3, 4]);
        _time.Advance(Window / 2);
        Look(present: [1, 2, 3], living: [1, 2, 3]);
        Assert.False(_losses.AnyMissing);
        _time.Advance(Window);
        Look(present: [1, 2, 3], living: [1, 2, 3]);
        AssertLost();
    }

    [Fact]
    public void MoreThanHalf_NeverSeen_AreACrowd()
    {
        int[] all = [1, 2, 3, 4, 5];
        Look(present: [1, 2], all);
        _time.Advance(Window + TimeSpan.FromMilliseconds(1));
        Look(present: [1, 2], all);
        AssertLost(3, 4, 5);
        Assert.All(_losses.Open, loss => Assert.True(loss.InCrowd));
    }

    [Fact]
    public void Lease_SeenBeforeItsSiloWasKnown_IsLost()
    {
        Look(present: [1, 2, 3], living: [1, 2]);
        Look(present: [1, 2], living: [1, 2, 3]);
        AssertLost(3);
    }

    [Fact]
    public void Lease_GoneOfASiloThatIsNotInTheTable_IsNoLoss()
    {
        Look(present: [1, 2, 3], living: [1, 2]);
        Look(present: [1, 2], living: [1, 2]);
        AssertLost();
        Look(present: [1, 2], living: [1, 2, 3]);
        AssertLost();
    }

    [Fact]
    public void Loss_OfTheDeadOrBack_IsOver()
    {
        Look(present: [1, 2, 3, 4, 5], living: [1, 2, 3, 4, 5]);
        Look(present: [1, 2, 3], living: [1, 2, 3, 4, 5]);
        var losses = _losses.Open.ToArray();
        Assert.Equal(2, losses.Length);
        Look(present: [1, 2, 3, 4], living: [1, 2, 3, 4]);
        AssertLost();
        Assert.All(losses, loss => Assert.True(loss.IsOver));
        // And the one that came back can be lost again.
        Look(present: [1, 2, 3], living: [1, 2, 3, 4]);
        AssertLost(4);
    }

    [Theory]
    [InlineData(2, 1, false)]
    [InlineData(3, 1, false)]
    [InlineData(3, 2, true)]
    [InlineData(4, 2, false)]
    [InlineData(5, 3, true)]
    [InlineData(100, 50, false)]
    [InlineData(100, 51, true)]
    public void MoreThanHalf_AtOnce_AreACrowd(int silos, int gone, bool crowd)
    {
        var all = Enumerable.Range(1, silos).ToArray();
        Look(all, all);
        Look(all[gone..], all);
        Assert.Equal(gone, _losses.Open.Count);
        Assert.All(_losses.Open, loss => Assert.Equal(crowd, loss.InCrowd));
    }

    [Fact]
    public void MoreThanHalf_OneAfterAnotherWithinTheWindow_AreACrowd_AndSoAreTheFirst()
    {
        int[] all = [1, 2, 3, 4, 5];
        Look(all, all);
        Look([2, 3, 4, 5], all);
        _time.Advance(Window / 2);
        Look([3, 4, 5], all);
        Assert.All(_losses.Open, loss => Assert.False(loss.InCrowd));
        // The first was evicted meanwhile, and the second came back: they went all the same.
        Look([2, 3, 4, 5], [2, 3, 4, 5]);
        _time.Advance(Window / 2);
        Look([2, 3, 5], [2, 3, 4, 5]);
        AssertLost(4);
        Assert.True(_losses.Open.Single().InCrowd);
    }

    [Fact]
    public void MoreThanHalf_FurtherApartThanTheWindow_AreNoCrowd()
    {
        int[] all = [1, 2, 3];
        Look(all, all);
        Look([2, 3], all);
        _time.Advance(Window + TimeSpan.FromMilliseconds(1));
        Look([3], all);
        AssertLost(1, 2);
        Assert.All(_losses.Open, loss => Assert.False(loss.InCrowd));
    }

    [Fact]
    public void Crowd_StaysOne_HoweverLongItLasts()
    {
        int[] all = [1, 2, 3];
        Look(all, all);
        Look([3], all);
        _time.Advance(10 * Window);
        Look([2, 3], all);
        AssertLost(1);
        Assert.True(_losses.Open.Single().InCrowd);
    }

    [Fact]
    public void IsNews_OnlyWhenALeaseIsGoneOfWhoIsNotKnownToBeDead()
    {
        Look(present: [1, 2, 3], living: [1, 2, 3]);
        Assert.False(_losses.IsNews(Keys(1, 2, 3, 4), dead: Keys()));
        Assert.False(_losses.IsNews(Keys(1, 2), dead: Keys(3)));
        Assert.True(_losses.IsNews(Keys(1, 2), dead: Keys()));
        Look(present: [1, 2], living: [1, 2, 3]);
        Assert.False(_losses.IsNews(Keys(1, 2), dead: Keys()));
    }

    private static ByteString Key(int silo) => ByteString.CopyFromUtf8($"silo-{silo}");

    private static HashSet<ByteString> Keys(params int[] silos) => [.. silos.Select(Key)];

    private void Look(int[] present, int[] living) =>
        _losses.Update(Keys(present), living.ToDictionary(Key, silo => Silos.Address(silo)), Window);

    private void AssertLost(params int[] silos) =>
        Assert.Equal(silos.Select(silo => Silos.Address(silo)).Order(), _losses.Open.Select(loss => loss.Silo).Order());
}
