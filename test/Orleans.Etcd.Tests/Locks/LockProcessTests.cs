using System.Globalization;
using System.Text.RegularExpressions;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Clusters;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Locks of silos in processes of their own, which are killed and frozen.</summary>
public sealed class LockProcessTests(ITestOutputHelper output)
{
    private const string Name = "lock";
    private static readonly TimeSpan Ttl = TimeSpan.FromSeconds(4);

    [Fact]
    [Trait("Category", "Long")]
    public async Task SiloOfTheLockGrainIsKilled_TheHandleStays_AndWaitersKeepTheirPlaces()
    {
        await using var etcd = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        await using var cluster = new ClusterProcesses([etcd.Endpoint]);
        var silos = await cluster.StartThreeAsync(("Locks:SessionTtl", Ttl.ToString()));
        await cluster.StartClientAsync();
        await using var connection = etcd.Connect();
        var locks = cluster.Client.ServiceProvider.GetRequiredService<ILocks>();
        await using var held = await locks.GetLock(Name).AcquireAsync();
        var mutex = cluster.Client.GetGrain<ILockGrain>(Name);
        var host = await cluster.Client.GetGrain<IManagementGrain>(0).GetActivationAddress(mutex);
        var victim = silos.Single(silo => silo.Endpoint.Equals(host!.Endpoint));
        // Waiters of the client and of a grain on one of the others.
        var user = cluster.Client.GetGrain<ILockUser>(0);
        while (!silos.Except([victim]).Any(silo => silo.Endpoint.Equals(user.Here().Result.Endpoint)))
            user = cluster.Client.GetGrain<ILockUser>(Random.Shared.NextInt64());
        var first = locks.GetLock(Name).AcquireAsync();
        await UntilQueuedAsync(2);
        var second = user.HoldFor(Name, TimeSpan.FromMilliseconds(200));
        await UntilQueuedAsync(3);
        var third = locks.GetLock(Name).AcquireAsync();
        await UntilQueuedAsync(4);
        var places = (await KeysAsync()).Select(kv => kv.CreateRevision).ToArray();

        await victim.KillAsync();
        // Longer than it takes the others to notice, and than the TTL.
        await Task.Delay(Ttl * 2.5);
        Assert.False(held.LostToken.IsCancellationRequested);
        Assert.True(held.Remaining > TimeSpan.Zero);
        Assert.Equal(places, (await KeysAsync()).Select(kv => kv.CreateRevision));
        Assert.False(first.IsCompleted || second.IsCompleted || third.IsCompleted);
        Assert.Null(await locks.GetLock(Name).TryAcquireAsync());
        await held.DisposeAsync();
        await using (var got = await first.WaitAsync(TimeSpan.FromSeconds(20)))
            Assert.Equal(places[1], got.FencingToken);
        Assert.Equal(places[2], await second.WaitAsync(TimeSpan.FromSeconds(20)));
        await using var last = await third.WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal(places[3], last.FencingToken);

        async Task<IReadOnlyList<Mvccpb.KeyValue>> KeysAsync() =>
            [.. (await connection.RangeAsync(Txn.Range(EtcdKeys.Lock("orleans", cluster.Id, "locks", Name)))).Kvs.OrderBy(kv => kv.CreateRevision)];

        Task UntilQueuedAsync(int keys) => Eventually.IsTrueAsync(async () => (await KeysAsync()).Count == keys, $"{keys} keys are queued");
    }

    [Fact]
    [Trait("Category", "Long")]
    public async Task FrozenHolders_WriteNothingStale_ThroughAFence_AndWithoutOneTheyDo()
    {
        const string Register = "register";
        await using var etcd = await EtcdServer.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") });
        await using var connection = etcd.Connect();
        var (fenced, unfenced) = (new List<long>(), new List<long>());
        await using var written = new RangeWatch(connection, Register + "/");
        var noting = NoteAsync();
        await using var cluster = new ClusterProcesses([etcd.Endpoint]);
        // Clients, so that the cluster which brokers the lock does not freeze with them.
        var broker = await cluster.StartSiloAsync("broker");
        await broker.SeesAsync(broker, SiloStatus.Active, TimeSpan.FromSeconds(60));
        (string, string)[] settings = [("Role", "client"), ("Locks:SessionTtl", "00:00:02"), ("Contend", Name), ("Register", Register)];
        SiloProcess[] clients = [await cluster.StartSiloAsync("one", more: settings), await cluster.StartSiloAsync("two", more: settings)];
        for (var freeze = 0; freeze < 2; freeze++)
        {
            var count = freeze + 1;
            await Eventually.IsTrueAsync(() => Writers(clients).Count == count, "somebody holds the lock");
            await Task.Delay(300);
            var (holder, token) = Writers(clients).MaxBy(writer => writer.Token);
            holder.Freeze();
            // As long as the lease lives, and until the other has written.
            await Eventually.IsTrueAsync(() => Writers(clients).Count == count + 1, "the other holds the lock");
            await Task.Delay(300);
            holder.Thaw();
            await Eventually.IsTrueAsync(() => holder.Output.Contains($"refused {token}", StringComparison.Ordinal), "the old one was refused");
        }

        await written.DisposeAsync();
        await noting;
        output.WriteLine($"{fenced.Count} fenced writes of tokens {string.Join(", ", fenced.Distinct())}; {unfenced.Zip(unfenced.Skip(1)).Count(pair => pair.Second < pair.First)} times an unfenced one went back");
        Assert.True(fenced.Distinct().Count() >= 3);
        Assert.Equal(fenced.Order(), fenced);
        // The same writes without a fence: what this test would see if the fence did nothing.
        Assert.NotEqual(unfenced.Order(), unfenced);

        async Task NoteAsync()
        {
            await foreach (var batch in written.Batches.ReadAllAsync())
            {
                foreach (var change in batch.Changes.Where(change => change.Current is not null))
                    (change.Key.ToStringUtf8() == $"{Register}/fenced" ? fenced : unfenced).Add(long.Parse(change.Current!.Value.ToStringUtf8(), CultureInfo.InvariantCulture));
            }
        }
    }

    private static List<(SiloProcess Silo, long Token)> Writers(IEnumerable<SiloProcess> silos) =>
    [
        .. silos.SelectMany(silo => Regex.Matches(silo.Output, @"^writes (\d+)\r?$", RegexOptions.Multiline)
            .Select(match => (silo, long.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture)))),
    ];
}
