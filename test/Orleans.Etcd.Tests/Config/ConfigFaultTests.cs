using System.Text;
using Etcdserverpb;
using Google.Protobuf;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Clusters;
using Orleans.Etcd.Tests.Locks;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Config;

/// <summary>
/// Random changes, some by <c>etcdctl</c>, while silos that serve the namespace are killed, members of etcd are killed and come back, leaders
/// change and history is compacted: whoever subscribed is told all of it.
/// </summary>
[Collection(nameof(LockContentionTests))]
public sealed class ConfigFaultTests(ITestOutputHelper output)
{
    private const string Name = ConfigWatcher.Name;
    private const int Keys = 50;

    private readonly Random _random = new(20261126);
    private EtcdConnection _etcd = null!;
    private string _prefix = "";

    [Fact]
    [Trait("Category", "Long")]
    public async Task NothingIsMissed()
    {
        var binary = EtcdBinary.Find("3.5");
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = binary });
        await using var cluster = new ClusterProcesses(etcd.Endpoints);
        var silos = new List<SiloProcess>();
        for (var i = 0; i < 3; i++)
            silos.Add(await cluster.StartSiloAsync($"silo{i}", more: ("WatchConfig", "true")));
        await cluster.SettledAsync([.. silos]);
        await cluster.StartClientAsync();
        _etcd = etcd.Connect();
        await using var connection = _etcd;
        _prefix = $"orleans/{cluster.Id}/config/{Name}/";

        var config = cluster.Client.GetGrain<IConfigGrain>(Name);
        ConfigReplay[] clients = [.. Enumerable.Range(0, 5).Select(_ => new ConfigReplay()), new ConfigReplay("key1")];
        foreach (var replay in clients)
            _ = await config.SubscribeAsync(replay.OnAsync, new ConfigScope { KeyPrefix = replay == clients[^1] ? "key1" : "" });
        var users = Enumerable.Range(0, 9).Select(i => cluster.Client.GetGrain<IConfigUser>(i)).ToArray();
        await Task.WhenAll(users.Select(user => user.Subscribe(Name)));

        var changes = Soak.Or(5_000, 50_000);
        var faults = FaultsAsync(etcd, cluster, silos);
        for (var i = 0; i < changes || !faults.IsCompleted; i++)
            await RepeatAsync(() => ChangeAsync(i, etcd.Endpoints, binary));
        await faults;

        await RepeatAsync(() => PutAsync("last", "last"));
        var there = (await _etcd.RangeAsync(Txn.Range(_prefix))).Kvs.ToDictionary(kv => kv.Key.ToStringUtf8()[_prefix.Length..], kv => kv.Value.ToStringUtf8());
        foreach (var replay in clients)
        {
            var expected = replay == clients[^1] ? there.Where(pair => pair.Key.StartsWith("key1", StringComparison.Ordinal)).ToDictionary() : there;
            await Eventually.IsTrueAsync(() => Same(replay.Values, expected), "the client is told all");
            Assert.Empty(replay.Faults);
            output.WriteLine($"client: {replay.Snapshots} snapshots, {replay.Deltas} deltas");
        }

        foreach (var user in users)
        {
            // Grains of silos that were killed are new ones that never subscribed.
            await Eventually.IsTrueAsync(async () => await user.Told() is not { } told || Same(told.Values, there), "the grain is told all");
            await Eventually.IsTrueAsync(async () => await user.ToldInSilo() is { } told && Same(told.Values, there), "the silo's service is told all");
            foreach (var told in new[] { await user.Told(), await user.ToldInSilo() }.OfType<ConfigTold>())
            {
                Assert.Empty(told.Faults);
                output.WriteLine($"in a silo: {told.Snapshots} snapshots, {told.Deltas} deltas");
            }
        }
    }

    private static bool Same(Dictionary<string, string> one, Dictionary<string, string> other) =>
        one.Count == other.Count && one.All(pair => other.GetValueOrDefault(pair.Key) == pair.Value);

    private async Task FaultsAsync(EtcdCluster etcd, ClusterProcesses cluster, List<SiloProcess> silos)
    {
        // In good order first, as in every upgrade.
        await ReplaceGrainsSiloAsync(cluster, silos, "after", silo =>
        {
            silo.Terminate();
            return silo.WaitForExitAsync(TimeSpan.FromSeconds(30));
        });
        for (var round = 0; round < 2; round++)
        {
            await Task.Delay(TimeSpan.FromSeconds(1));
            await ReplaceGrainsSiloAsync(cluster, silos, $"next{round}", silo => silo.KillAsync());
            await Task.Delay(TimeSpan.FromSeconds(1));
            // One of them is the leader, so that leaders change.
            foreach (var member in etcd.Members)
            {
                await member.KillAsync();
                await Task.Delay(TimeSpan.FromSeconds(0.5));
                await member.RestartAsync();
                await Task.Delay(TimeSpan.FromSeconds(2));
                // Later than the last compaction, though nobody else may have written since.
                var revision = 0L;
                await RepeatAsync(async () => revision = (await _etcd.PutAsync($"{_prefix}compacted", $"{revision}")).Header.Revision);
                await etcd.Members[0].CompactAsync(revision);
            }
        }

        // All at once.
        foreach (var member in etcd.Members)
            await member.KillAsync();
        await Task.WhenAll(etcd.Members.Select(member => member.RestartAsync()));
    }

    /// <summary>The silo that serves the namespace goes, and another is started.</summary>
    private static async Task ReplaceGrainsSiloAsync(ClusterProcesses cluster, List<SiloProcess> silos, string next, Func<SiloProcess, Task> end)
    {
        SiloAddress? serving = null;
        await HostedCluster.UntilAsync(
            async () => (serving = await cluster.Client.GetGrain<IManagementGrain>(0).GetActivationAddress((IAddressable)cluster.Client.GetGrain<IConfigGrain>(Name))) is not null,
            "the namespace is served");
        await end(silos.Single(silo => !silo.HasExited && silo.Endpoint.Equals(serving!.Endpoint)));
        silos.Add(await cluster.StartSiloAsync(next, more: ("WatchConfig", "true")));
    }

    private async Task ChangeAsync(int i, IReadOnlyList<Uri> endpoints, string binary)
    {
        if (i % 100 == 50)
        {
            await EtcdCtl.RunAsync(endpoints, binary, "put", $"{_prefix}key{_random.Next(Keys)}", $"{i}");
            return;
        }

        switch (_random.Next(4))
        {
            case 0:
                await _etcd.DeleteRangeAsync(new DeleteRangeRequest { Key = ByteString.CopyFromUtf8($"{_prefix}key{_random.Next(Keys)}") });
                return;
            case 1:
                var txn = new TxnRequest();
                foreach (var key in Enumerable.Range(0, Keys).OrderBy(_ => _random.Next()).Take(5))
                    txn.Success.Add(_random.Next(3) == 0 ? Txn.Delete(Key(key)) : Txn.Put(Key(key), ByteString.CopyFromUtf8($"{i}")));
                await _etcd.TxnAsync(txn);
                return;
            default:
                await PutAsync($"key{_random.Next(Keys)}", $"{i}");
                return;
        }
    }

    private ByteString Key(int key) => ByteString.CopyFrom(Encoding.UTF8.GetBytes($"{_prefix}key{key}"));

    private Task PutAsync(string key, string value) => _etcd.PutAsync(_prefix + key, value);

    /// <summary>Whether it was applied once or twice is all the same.</summary>
    private static async Task RepeatAsync(Func<Task> change)
    {
        while (true)
        {
            try
            {
                await change();
                return;
            }
            catch (EtcdException)
            {
                await Task.Delay(50);
            }
        }
    }
}
