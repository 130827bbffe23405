using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Locks over TLS and by a user with a password, as in production.</summary>
public sealed class LockSecuredTests(SharedEtcd35Secured etcd) : IClassFixture<SharedEtcd35Secured>
{
    [Fact]
    public async Task Lock_IsHeldHandedOverAndTakenAway()
    {
        await using var silo = QueueSilo.Start(etcd.Server, "service");
        await using var client = new QueueClient(etcd.Server.Connect(), "service", silo.Grain);
        var mutex = client.Locks.GetLock("lock");
        var held = await mutex.AcquireAsync();
        var next = mutex.AcquireAsync();
        Assert.Null(await mutex.TryAcquireAsync(TimeSpan.FromMilliseconds(100)));
        await held.DisposeAsync();
        await using var got = await next.WaitAsync(TimeSpan.FromSeconds(5));
        Assert.True(await FencedWrite.PutAsync(silo.Etcd, "service/lock", got.FencingToken, "service/value", default));
        Assert.False(await FencedWrite.PutAsync(silo.Etcd, "service/lock", held.FencingToken, "service/value", default));
        Assert.True(await mutex.ForceReleaseAsync(got.FencingToken));
        await Testing.Eventually.IsTrueAsync(() => got.LostToken.IsCancellationRequested, "it is told");
    }
}
