using Etcdserverpb;
using Google.Protobuf;
using Grpc.Net.Client;
using Mvccpb;
using Orleans.Etcd.Tests.Testing;
using V3Lockpb;
using Xunit;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>One queue with <c>etcdctl lock</c>, etcd's own lock service and the layout of Go's <c>concurrency.Mutex</c>.</summary>
public abstract class LockInteropTests(SharedEtcd etcd) : IAsyncLifetime
{
    private const string Name = "shared";
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    private readonly string _service = $"service-{Guid.NewGuid():N}";
    private QueueSilo _silo = null!;
    private QueueClient _client = null!;

    // What a Go program or a person gives to concurrency.NewMutex, etcdctl lock and the lock service.
    private string Path => $"orleans/{_service}/locks/{Name}";

    public Task InitializeAsync()
    {
        _silo = QueueSilo.Start(etcd.Server, _service);
        _client = new QueueClient(etcd.Server.Connect(), _service, _silo.Grain);
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _client.DisposeAsync();
        await _silo.DisposeAsync();
    }

    [Fact]
    public async Task EtcdCtl_And_Ours_ExcludeEachOther()
    {
        var held = await _client.Locks.GetLock(Name).AcquireAsync();
        await using var script = await EtcdCtl.LockAsync(etcd.Server, etcd.BinaryPath, Path);
        var holding = script.HeldAsync();
        await UntilKeysAsync(2);
        Assert.False(holding.IsCompleted);
        await held.DisposeAsync();
        await holding.WaitAsync(Limit);
        Assert.Null(await _client.Locks.GetLock(Name).TryAcquireAsync());
        var status = await _client.Locks.GetLock(Name).GetStatusAsync();
        Assert.Null(Assert.Single(status.Holders).Owner);
        var next = _client.Locks.GetLock(Name).AcquireAsync();
        await UntilKeysAsync(2);
        await script.ReleaseAsync();
        await using var got = await next.WaitAsync(Limit);
        Assert.True(got.FencingToken > status.Holders[0].Token);
        Assert.True(status.Holders[0].Token > held.FencingToken);
    }

    [Fact]
    public async Task All_AreServedInTheOrderOfTheirComing()
    {
        using var channel = GrpcChannel.ForAddress(etcd.Server.Endpoint);
        var service = new V3Lockpb.Lock.LockClient(channel);
        var lease = await _silo.Etcd.GrantAsync(new LeaseGrantRequest { TTL = 60 }, CancellationToken.None);
        var order = new List<string>();
        await using var script = await EtcdCtl.LockAsync(etcd.Server, etcd.BinaryPath, Path);
        await script.HeldAsync().WaitAsync(Limit);

        var first = NoteAsync("ours 1", _client.Locks.GetLock(Name).AcquireAsync(), held => held.DisposeAsync().AsTask());
        await UntilKeysAsync(2);
        var second = NoteAsync(
            "lock service",
            service.LockAsync(new V3Lockpb.LockRequest { Name = ByteString.CopyFromUtf8(Path), Lease = lease.ID }).ResponseAsync,
            held => service.UnlockAsync(new UnlockRequest { Key = held.Key }).ResponseAsync);
        await UntilKeysAsync(3);
        var third = NoteAsync("ours 2", _client.Locks.GetLock(Name).AcquireAsync(), held => held.DisposeAsync().AsTask());
        await UntilKeysAsync(4);
        var fourth = NoteAsync("go", GoMutexAsync(), async key => await _silo.Etcd.DeleteAsync(key));
        await UntilKeysAsync(5);
        var fifth = NoteAsync("ours 3", _client.Locks.GetLock(Name).AcquireAsync(), held => held.DisposeAsync().AsTask());
        await UntilKeysAsync(6);

        await script.ReleaseAsync();
        await Task.WhenAll(first, second, third, fourth, fifth).WaitAsync(Limit);
        Assert.Equal(["ours 1", "lock service", "ours 2", "go", "ours 3"], order);
        await UntilKeysAsync(0);

        async Task NoteAsync<T>(string who, Task<T> acquiring, Func<T, Task> release)
        {
            var held = await acquiring;
            lock (order)
                order.Add(who);
            await release(held);
        }
    }

    [Fact]
    public async Task ForcedReleaseOfAForeignHolder_LetsTheNextIn()
    {
        await using var script = await EtcdCtl.LockAsync(etcd.Server, etcd.BinaryPath, Path);
        await script.HeldAsync().WaitAsync(Limit);
        var next = _client.Locks.GetLock(Name).AcquireAsync();
        await UntilKeysAsync(2);
        var holder = Assert.Single((await _client.Locks.GetLock(Name).GetStatusAsync()).Holders);
        Assert.True(holder.Remaining > TimeSpan.Zero);
        Assert.True(await _client.Locks.GetLock(Name).ForceReleaseAsync(holder.Token));
        await using var got = await next.WaitAsync(Limit);
    }

    /// <summary>As Go's <c>Mutex.Lock</c> does it, step by step; answers its key once it holds the lock.</summary>
    private async Task<string> GoMutexAsync()
    {
        var lease = await _silo.Etcd.GrantAsync(new LeaseGrantRequest { TTL = 60 }, CancellationToken.None);
        var key = $"{Path}/{lease.ID:x}";
        var put = await _silo.Etcd.TxnAsync(new TxnRequest
        {
            Compare = { Txn.CreateRevisionIs(ByteString.CopyFromUtf8(key), 0) },
            Success = { Txn.Put(ByteString.CopyFromUtf8(key), ByteString.Empty, lease.ID) },
        });
        Assert.True(put.Succeeded);
        await using var view = new LiveView(_silo.Etcd, Path + "/");
        await view.WaitAsync(
            snapshot => snapshot.Revision >= put.Header.Revision && snapshot.Values.Values.All(kv => kv.CreateRevision >= put.Header.Revision),
            CancellationToken.None);
        return key;
    }

    private async Task<IReadOnlyList<KeyValue>> KeysAsync() => (await _silo.Etcd.RangeAsync(Txn.Range(Path + "/"))).Kvs;

    private Task UntilKeysAsync(int count) => Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == count, $"{count} keys are queued");
}

public sealed class LockInteropTests34(SharedEtcd34 etcd) : LockInteropTests(etcd), IClassFixture<SharedEtcd34>;

public sealed class LockInteropTests35(SharedEtcd35 etcd) : LockInteropTests(etcd), IClassFixture<SharedEtcd35>;
