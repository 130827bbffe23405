using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Testing;
using Xunit;
using Xunit.Abstractions;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>The faults themselves: a cut that cuts nothing would make every run pass.</summary>
public sealed class NetworkTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(false, false)]
    [InlineData(false, true)]
    [InlineData(true, false)]
    [InlineData(true, true)]
    public async Task LeaderCutFromItsPeers_LeadsNoLonger_AndOneCutFromClientsIsNotReached(bool onLoopback, bool oneWay)
    {
        var (namespaces, problem) = onLoopback ? (null, null) : await NamespaceNetwork.TryCreateAsync(3);
        if (!onLoopback && namespaces is null)
        {
            output.WriteLine($"Not here: {problem}");
            return;
        }

        await using IMemberNetwork network = namespaces is not null ? namespaces : new LoopbackNetwork(3);
        await using var etcd = await EtcdCluster.StartAsync(new() { BinaryPath = EtcdBinary.Find("3.5") }, () => network.Places);
        network.Started(etcd);
        var leader = await etcd.GetLeaderAsync();
        var index = etcd.Members.TakeWhile(member => member != leader).Count();
        await using (await network.CutFromPeersAsync(index, oneWay))
        {
            // One that hears nobody gives up by itself, and the others elect another where they do not hear it either.
            await Eventually.IsTrueAsync(async () => !(await leader.GetRoleAsync(CancellationToken.None)).IsLeader, "it leads no longer");
        }

        Assert.NotNull(await etcd.GetLeaderAsync());
        await using (await network.CutFromClientsAsync(index))
        {
            using var impatient = new HttpClient { Timeout = TimeSpan.FromSeconds(2) };
            await Assert.ThrowsAsync<TaskCanceledException>(() => impatient.GetAsync(new Uri(leader.ClientEndpoint, "/version")));
        }
    }
}
