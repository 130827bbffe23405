using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>The session of a process that does not reach etcd, kept through a silo that does.</summary>
public sealed class GrainSessionTests
{
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(6);

    /// <summary>etcd lets every lease live for one more TTL when it has started again.</summary>
    [Fact]
    public async Task SessionLostInAnOutage_IsEndedAsSoonAsThatIsOver()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        await using var etcd = server.Connect();
        var store = new SessionStore(etcd, "service");
        await using var sessions = new LockSessions(stop => GrainSessionLink.OpenAsync(new Call(store), Ttl, "test", TimeProvider.System, NullLogger.Instance, stop), TimeProvider.System, NullLogger<LockSession>.Instance);
        var session = await sessions.GetAsync(CancellationToken.None);
        var key = store.Layout(session.Id).StateKey.ToStringUtf8();
        await server.KillAsync();
        await Eventually.IsTrueAsync(() => session.HasEnded, "it is lost");
        await server.RestartAsync();
        var since = Stopwatch.StartNew();
        await Eventually.IsTrueAsync(async () => await etcd.GetAsync(key) is null, "its keys are gone");
        Assert.InRange(since.Elapsed, TimeSpan.Zero, Ttl - TimeSpan.FromSeconds(1));
        Assert.NotEqual(session.Id, (await sessions.GetAsync(CancellationToken.None)).Id);
    }

    /// <summary>What <see cref="LockSessionGrain"/> asks, without a silo.</summary>
    private sealed class Call(SessionStore store) : ILockSessionGrain
    {
        public async Task<LockSessionGrant> Open(TimeSpan ttl, string? owner)
        {
            var lease = await store.Etcd.GrantAsync(new() { ID = Random.Shared.NextInt64(1, long.MaxValue), TTL = (long)ttl.TotalSeconds }, CancellationToken.None);
            return new LockSessionGrant(lease.ID, TimeSpan.FromSeconds(lease.TTL), await store.AnnounceAsync(lease.ID, owner, CancellationToken.None));
        }

        public Task<TimeSpan> Renew(long session) => store.Etcd.RenewOnceAsync(session, CancellationToken.None);

        public Task Close(long session) => store.Etcd.RevokeAsync(session, CancellationToken.None);

        public async Task<LockSessionState> Watch(long session, int known)
        {
            await using var view = store.View(session);
            return await store.WatchAsync(view, session, known, CancellationToken.None);
        }

        public Task<ImmutableArray<string>> GetKeys(long session) => store.KeysAsync(session, CancellationToken.None);

        public Task Remove(long session, string key) => store.RemoveAsync(session, key, CancellationToken.None);
    }
}
