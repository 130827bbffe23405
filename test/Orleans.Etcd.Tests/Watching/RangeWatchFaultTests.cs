using Microsoft.Extensions.Logging;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Hosting;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>What a watch says is what was written, through the death and return of its server.</summary>
public abstract class RangeWatchFaultTests(string version)
{
    private const string Prefix = "faults/";
    private readonly string _binary = EtcdBinary.Find(version);

    [Theory]
    [Trait("Category", "Long")]
    [InlineData(true, EtcdTls.None)]
    [InlineData(true, EtcdTls.ServerTls)]
    [InlineData(false, EtcdTls.MutualTls)]
    public Task Batches_ServerRestarts_EqualTheReferenceLikewise(bool gracefully, EtcdTls tls) => Batches_ServerRestarts_EqualTheReference(gracefully, tls);

    [Theory]
    [InlineData(false, EtcdTls.None)]
    public async Task Batches_ServerRestarts_EqualTheReference(bool gracefully, EtcdTls tls)
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary, Tls = tls });
        await using var writer = server.Connect();
        await using var etcd = server.Connect();
        var reference = new ReferenceLog(writer, Prefix, Random.Shared.Next());
        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        using var stop = new CancellationTokenSource();
        var writing = reference.WriteUntilAsync(stop.Token);
        for (var i = 0; i < 3; i++)
        {
            var seen = log.Batches.Count;
            await log.WaitForAsync(_ => log.Batches.Count > seen + 20, "progress between two restarts");
            await (gracefully ? server.StopAsync() : server.KillAsync());
            await server.RestartAsync();
        }

        await stop.CancelAsync();
        await writing;
        await log.AssertEqualsAsync(reference);
    }

    [Fact]
    public async Task Batches_TokenExpiredAndForgotten_EqualTheReference()
    {
        await using var server = await EtcdServer.StartAsync(new()
        {
            BinaryPath = _binary,
            UserName = "root",
            Password = "hunter2",
            AuthTokenTtl = TimeSpan.FromSeconds(1),
        });
        await using var proxy = TcpProxy.Start(server.Endpoint);
        await using var writer = server.Connect();
        await using var etcd = server.Connect(through: proxy.Endpoint);
        var reference = new ReferenceLog(writer, Prefix, Random.Shared.Next());
        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        // Every use prolongs a token: both have to be left alone until theirs have expired.
        await Task.Delay(TimeSpan.FromSeconds(3));
        proxy.BreakAll();
        await reference.WriteAsync(20);
        await server.RestartAsync();
        await reference.WriteAsync(20);
        await log.AssertEqualsAsync(reference);
    }

    [Fact]
    public async Task LastError_ServerGoneAndBack_IsToldOfAndTakenBack()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        var lines = new RecordedLog();
        using var logging = LoggerFactory.Create(logging => logging.AddProvider(lines));
        await using var etcd = new EtcdConnection(server.Options(), logging);
        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        Assert.Null(log.Watch.LastError);
        await server.KillAsync();
        await Eventually.IsTrueAsync(() => log.Watch.LastError is EtcdException { Code: EtcdErrorCode.Unavailable }, "the watch says what holds it up");
        await Eventually.IsTrueAsync(() => lines.Lines.Any(line => line.Contains("what it knows may be old", StringComparison.Ordinal)), "somebody is told");
        await server.RestartAsync();
        await Eventually.IsTrueAsync(() => log.Watch.LastError is null, "nothing holds it up any more");
        Assert.Single(lines.Lines, line => line.Contains("what it knows may be old", StringComparison.Ordinal));
        Assert.Contains(lines.Lines, line => line.Contains("is up to date again", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Batches_OlderDataRestored_BeginANewEpochWithDeletions()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        await using var etcd = server.Connect();
        await etcd.PutAsync(Prefix + "kept", "old");
        await server.BackUpAsync();

        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        await etcd.PutAsync(Prefix + "kept", "new");
        for (var i = 0; i < 10; i++)
            await etcd.PutAsync($"{Prefix}{i}", "1");
        var before = await log.WaitForAsync(batch => batch.Snapshot.Values.Count == 11, "all keys");
        await server.RestoreAsync();

        var after = await log.WaitForAsync(batch => batch.Snapshot.Epoch > before.Snapshot.Epoch, "a new epoch");
        Assert.True(after.IsResync);
        Assert.True(after.Snapshot.Revision < before.Snapshot.Revision);
        Assert.Equal("old", Assert.Single(after.Snapshot.Values).Value.Value.ToStringUtf8());
        Assert.Equal(10, after.Changes.Count(change => change.Current is null));
        await etcd.PutAsync(Prefix + "next", "1");
        await log.WaitForAsync(batch => batch.Snapshot.Epoch == after.Snapshot.Epoch && batch.Snapshot.Values.Count == 2, "writes after it");
    }

    [Fact]
    public async Task Batches_DataWiped_BeginANewEpochWithDeletions()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = _binary });
        await using var etcd = server.Connect();
        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        for (var i = 0; i < 10; i++)
            await etcd.PutAsync($"{Prefix}{i}", "1");
        var before = await log.WaitForAsync(batch => batch.Snapshot.Values.Count == 10, "all keys");
        await server.KillAsync();
        Directory.Delete(Path.Combine(server.DataDirectory, "data"), recursive: true);
        await server.RestartAsync();
        var after = await log.WaitForAsync(batch => batch.Snapshot.Epoch > before.Snapshot.Epoch, "a new epoch");
        Assert.Empty(after.Snapshot.Values);
        Assert.Equal(10, after.Changes.Count(change => change.Current is null));
    }

    [Theory]
    [Trait("Category", "Long")]
    [InlineData(EtcdTls.None, null)]
    [InlineData(EtcdTls.ServerTls, "orleans")]
    public async Task Batches_MembersFrozenAndQuorumLost_EqualTheReference(EtcdTls tls, string? user)
    {
        await using var cluster = await EtcdCluster.StartAsync(new() { BinaryPath = _binary, Tls = tls, UserName = user, Password = user is null ? null : "hunter2" });
        await using var writer = cluster.Connect(Impatient);
        await using var etcd = cluster.Connect(Impatient);
        var reference = new ReferenceLog(writer, Prefix, Random.Shared.Next());
        await using var log = new WatchedLog(etcd, Prefix);
        await log.WaitForStartAsync();
        foreach (var member in cluster.Members)
        {
            member.Pause();
            await reference.WriteAsync(20);
            // The watch moves away from the frozen member by itself: it is not resumed before all is seen.
            await log.WaitForAsync(batch => batch.Snapshot.Revision >= reference.LastRevision, "what was written meanwhile");
            member.Resume();
        }

        await cluster.Members[0].KillAsync();
        await cluster.Members[1].KillAsync();
        using var stop = new CancellationTokenSource();
        var writing = reference.WriteUntilAsync(stop.Token);
        await Task.Delay(TimeSpan.FromSeconds(2));
        await Task.WhenAll(cluster.Members[0].RestartAsync(), cluster.Members[1].RestartAsync());
        var last = reference.LastRevision;
        await log.WaitForAsync(batch => batch.Snapshot.Revision > last, "writes after the quorum is back");
        await stop.CancelAsync();
        await writing;
        await log.AssertEqualsAsync(reference);
    }

    private static void Impatient(Configuration.EtcdOptions options)
    {
        options.RequestTimeout = TimeSpan.FromSeconds(1);
        options.WatchProgressInterval = TimeSpan.FromMilliseconds(500);
    }
}

[Trait("Category", "Long")]
public sealed class RangeWatchFaultTestsOn34() : RangeWatchFaultTests("3.4");

public sealed class RangeWatchFaultTestsOn35() : RangeWatchFaultTests("3.5");
