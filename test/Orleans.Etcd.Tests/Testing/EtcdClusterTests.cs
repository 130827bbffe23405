using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Testing;

public class EtcdClusterTests
{
    [Fact]
    public async Task GetLeaderAsync_LeaderKilled_AnotherMemberLeadsAndDataStays()
    {
        await using var etcd = await EtcdCluster.StartAsync();
        Assert.Equal(3, etcd.Members.Count);
        Assert.Equal(etcd.Members.Select(member => member.Endpoint), etcd.Endpoints);
        var leader = await etcd.GetLeaderAsync();
        using (var client = new JsonGateway(leader.Endpoint)) await client.PutAsync("a", "1");

        await leader.KillAsync();
        var next = await etcd.GetLeaderAsync();
        Assert.NotSame(leader, next);
        using (var client = new JsonGateway(next.Endpoint)) Assert.Equal("1", await client.GetAsync("a"));

        await leader.RestartAsync();
        using (var client = new JsonGateway(leader.Endpoint)) Assert.Equal("1", await client.GetAsync("a"));
    }

    [Fact]
    public async Task GetLeaderAsync_LeaderPaused_AnotherMemberLeads()
    {
        await using var etcd = await EtcdCluster.StartAsync();
        var leader = await etcd.GetLeaderAsync();
        leader.Pause();
        Assert.NotSame(leader, await etcd.GetLeaderAsync());
        leader.Resume();
        await leader.GetRevisionAsync();
    }

    [Fact]
    public async Task RestartAsync_All_KeepsData()
    {
        await using var etcd = await EtcdCluster.StartAsync();
        using (var client = new JsonGateway(etcd.Endpoints[0])) await client.PutAsync("a", "1");
        await etcd.RestartAsync();
        foreach (var endpoint in etcd.Endpoints)
        {
            using var client = new JsonGateway(endpoint);
            Assert.Equal("1", await client.GetAsync("a"));
        }
    }

    [Fact]
    public async Task MutualTls_WithUserName_HoldsForEveryMember()
    {
        await using var etcd = await EtcdCluster.StartAsync(
            new() { Tls = EtcdTls.MutualTls, UserName = "orleans", Password = "secret" });
        foreach (var member in etcd.Members)
        {
            Assert.Equal("https", member.Endpoint.Scheme);
            Assert.True(await member.GetRevisionAsync() > 0);
        }

        await (await etcd.GetLeaderAsync()).KillAsync();
        Assert.True(await (await etcd.GetLeaderAsync()).GetRevisionAsync() > 0);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(6)]
    public Task StartAsync_MemberCountOutOfRange_Throws(int memberCount) =>
        Assert.ThrowsAsync<ArgumentOutOfRangeException>(() => EtcdCluster.StartAsync(memberCount: memberCount));

    [Fact]
    public async Task StartAsync_OneMember_Leads()
    {
        await using var etcd = await EtcdCluster.StartAsync(memberCount: 1);
        Assert.Same(etcd.Members[0], await etcd.GetLeaderAsync());
    }
}
