using System.Text;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Clusters;
using Orleans.Etcd.Tests.Silo;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.Tests.Locks;

/// <summary>Alone: what it does to the machine is not to be felt by tests with deadlines of their own.</summary>
[CollectionDefinition(nameof(LockContentionTests), DisableParallelization = true)]
public sealed class Alone;

/// <summary>
/// 32 contend for one lock, from three silos, a client and as <c>etcdctl lock</c>, while silos are killed and members of etcd
/// are killed and come back.
/// </summary>
[Collection(nameof(LockContentionTests))]
public sealed class LockContentionTests(ITestOutputHelper output)
{
    private const string Name = "lock";
    private const int InEachSilo = 8;
    private const int InTheClient = 4;
    private const int Scripts = 4;

    [Fact]
    [Trait("Category", "Long")]
    public Task NoTwoHoldIt() => ContendAsync(rounds: Soak.Or(1, 20));

    [Fact]
    public void Checker_FindsWhatIsWrong()
    {
        static string Faults(params Hold[] holds)
        {
            var history = new HoldHistory();
            foreach (var hold in holds)
                history.Add(hold);
            return string.Join('\n', history.Faults());
        }

        Assert.Empty(Faults(new("a", 1, 10, 20), new("b", 0, 21, 30), new("a", 2, 31, 31), new("c", 3, 32, 40)));
        Assert.Contains("while", Faults(new("a", 1, 10, 20), new("b", 2, 20, 30)));
        Assert.Contains("while", Faults(new("a", 1, 10, 90), new("b", 2, 91, 95), new("c", 0, 5, 92)));
        Assert.Contains("after token 2", Faults(new("a", 2, 10, 20), new("b", 1, 21, 30)));
    }

    private async Task ContendAsync(int rounds)
    {
        var binary = EtcdBinary.Find("3.5");
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = binary });
        await using var cluster = new ClusterProcesses(etcd.Endpoints);
        (string, string)[] settings = [("Locks:SessionTtl", "00:00:08"), ("Contend", Name), ("Contenders", $"{InEachSilo}")];
        var silos = new List<SiloProcess>();
        for (var i = 0; i < 3; i++)
            silos.Add(await cluster.StartSiloAsync($"silo{i}", more: settings));
        await cluster.SettledAsync([.. silos]);
        await cluster.StartClientAsync();

        using var stop = new CancellationTokenSource();
        var written = new Dictionary<string, StringBuilder>();
        var contenders = new List<Task>();
        for (var i = 0; i < InTheClient; i++)
            contenders.Add(InTheClientAsync(written[$"client {i}"] = new()));
        for (var i = 0; i < Scripts; i++)
            contenders.Add(AsScriptsAsync(written[$"etcdctl {i}"] = new()));

        for (var round = 0; round < rounds; round++)
        {
            foreach (var member in etcd.Members)
            {
                await Task.Delay(TimeSpan.FromSeconds(1.5));
                await member.KillAsync();
                await Task.Delay(TimeSpan.FromSeconds(1));
                await member.RestartAsync();
                if (member == etcd.Members[1])
                {
                    await silos[round % 3].KillAsync();
                    silos.Add(await cluster.StartSiloAsync($"next{round}", more: settings));
                }
            }

            await Task.Delay(TimeSpan.FromSeconds(12));
        }

        await stop.CancelAsync();
        await Task.WhenAll(contenders).WaitAsync(TimeSpan.FromSeconds(30));
        foreach (var silo in silos.Where(silo => !silo.HasExited))
            await silo.KillAsync();

        var history = new HoldHistory();
        foreach (var silo in silos)
            history.Add(silo.Name, silo.Output);
        foreach (var (who, text) in written)
            history.Add(who, text.ToString());
        var holds = history.Holds.CountBy(hold => hold.Who).ToDictionary();
        output.WriteLine(string.Join(", ", holds.Select(pair => $"{pair.Key}: {pair.Value}")));
        var begun = history.Holds.Min(hold => hold.From);
        output.WriteLine("a second: " + string.Join(' ', history.Holds.CountBy(hold => (hold.From - begun) / 1_000_000).OrderBy(pair => pair.Key).Select(pair => $"{pair.Key}:{pair.Value}")));
        Assert.Empty(history.Faults());
        // Too few would prove nothing.
        Assert.Equal(silos.Count + InTheClient + Scripts, holds.Count);
        Assert.True(history.Holds.Count >= 100, $"held {history.Holds.Count} times");

        async Task InTheClientAsync(StringBuilder lines)
        {
            var locks = cluster.Client.ServiceProvider.GetRequiredService<ILocks>();
            while (!stop.IsCancellationRequested)
            {
                try
                {
                    await using var held = await locks.GetLock(Name).AcquireAsync(stop.Token);
                    await LockContenders.StayAsync(held, line => lines.AppendLine(line));
                }
                catch (OperationCanceledException) when (stop.IsCancellationRequested)
                {
                }
            }
        }

        async Task AsScriptsAsync(StringBuilder lines)
        {
            while (!stop.IsCancellationRequested)
            {
                // One history for each: they have no token to be told apart by.
                var said = await EtcdCtl.RunLockedAsync(etcd.Endpoints, binary, $"orleans/{cluster.Id}/locks/{Name}", "echo enter 0 $(date +%s%6N); sleep 0.01; echo exit 0 $(date +%s%6N)");
                lines.Append(said);
            }
        }
    }
}
