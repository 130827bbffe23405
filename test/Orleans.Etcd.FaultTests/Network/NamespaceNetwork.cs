using System.Globalization;
using System.Net.NetworkInformation;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>
/// Each member in a network namespace of its own, all on one bridge, where clients are too; packets are dropped by nftables
/// within the namespace of the member. Needs root.
/// </summary>
/// <remarks>
/// All that is made carries the id of this process in its name: nothing else is ever touched, and what a killed process left
/// is removed by the next.
/// </remarks>
internal sealed class NamespaceNetwork : IMemberNetwork
{
    private const string Prefix = "oe";
    private static int _networks;

    private readonly string _name = string.Create(CultureInfo.InvariantCulture, $"{Prefix}{Environment.ProcessId}{(char)('a' + (Interlocked.Increment(ref _networks) % 26))}");
    private readonly string _subnet;
    private int _cuts;

    private NamespaceNetwork(string subnet, int members)
    {
        _subnet = subnet;
        Places = [.. Enumerable.Range(0, members).Select(member => new EtcdPlace(new EtcdPorts(2379, 2380, 2381))
        {
            Host = Address(member),
            Prefix = [FaultTools.Find("ip")!, "netns", "exec", Namespace(member)],
        })];
    }

    public string Name => "network namespaces";

    public IReadOnlyList<EtcdPlace> Places { get; }

    private string Bridge => $"{_name}b";

    /// <summary>Makes one; null, and why, where this machine or this user cannot.</summary>
    public static async Task<(NamespaceNetwork? Network, string? Problem)> TryCreateAsync(int members)
    {
        if (!OperatingSystem.IsLinux() || !Environment.IsPrivilegedProcess)
            return (null, "namespaces need root on Linux");
        if (new[] { "ip", "nft" }.FirstOrDefault(tool => FaultTools.Find(tool) is null) is { } missing)
            return (null, $"{missing} is not here: build/get-fault-tools gets it");
        await RemoveStaleAsync();
        var network = new NamespaceNetwork(FreeSubnet(), members);
        try
        {
            await network.BuildAsync();
            return (network, null);
        }
        catch (InvalidOperationException exception)
        {
            await network.DisposeAsync();
            return (null, exception.Message);
        }
    }

    public void Started(EtcdCluster cluster)
    {
    }

    public Task<IAsyncDisposable> CutFromPeersAsync(int member, bool oneWay)
    {
        var peers = string.Join(',', Enumerable.Range(0, Places.Count).Where(other => other != member).Select(Address));
        return DropAsync(member, [$"ip saddr {{ {peers} }} drop"], oneWay ? [] : [$"ip daddr {{ {peers} }} drop"]);
    }

    public Task<IAsyncDisposable> CutFromClientsAsync(int member) => DropAsync(member, [$"ip saddr {_subnet}.254 drop"], [$"ip daddr {_subnet}.254 drop"]);

    public Task<IAsyncDisposable> LosePacketsAsync(int member, int percent) =>
        DropAsync(member, [string.Create(CultureInfo.InvariantCulture, $"iifname eth0 numgen random mod 100 < {percent} drop")], []);

    public async ValueTask DisposeAsync()
    {
        for (var member = 0; member < Places.Count; member++)
            await TryAsync("netns", "del", Namespace(member));
        await TryAsync("link", "del", Bridge);
    }

    private async Task BuildAsync()
    {
        await IpAsync("link", "add", Bridge, "type", "bridge");
        await IpAsync("addr", "add", $"{_subnet}.254/24", "dev", Bridge);
        await IpAsync("link", "set", Bridge, "up");
        for (var member = 0; member < Places.Count; member++)
        {
            var inside = Namespace(member);
            var outside = string.Create(CultureInfo.InvariantCulture, $"{_name}v{member}");
            await IpAsync("netns", "add", inside);
            await IpAsync("link", "add", outside, "type", "veth", "peer", "name", "eth0", "netns", inside);
            await IpAsync("link", "set", outside, "master", Bridge, "up");
            await IpAsync("-n", inside, "addr", "add", $"{Address(member)}/24", "dev", "eth0");
            await IpAsync("-n", inside, "link", "set", "lo", "up");
            await IpAsync("-n", inside, "link", "set", "eth0", "up");
        }

        // That the rules themselves work here is known before a run depends on them.
        await using var tried = await CutFromPeersAsync(0, oneWay: false);
    }

    private async Task<IAsyncDisposable> DropAsync(int member, string[] incoming, string[] outgoing)
    {
        var table = string.Create(CultureInfo.InvariantCulture, $"cut{Interlocked.Increment(ref _cuts)}");
        var rules = string.Join("; ", new[] { $"add table inet {table}" }.Concat(Chain("input", incoming)).Concat(Chain("output", outgoing)));
        await NftAsync(member, rules);
        return new Undo(() => NftAsync(member, $"delete table inet {table}"));

        IEnumerable<string> Chain(string hook, string[] drops) => drops.Length == 0
            ? []
            : [$"add chain inet {table} {hook} {{ type filter hook {hook} priority 0; }}", .. drops.Select(drop => $"add rule inet {table} {hook} {drop}")];
    }

    private async Task NftAsync(int member, string rules) => await IpAsync("netns", "exec", Namespace(member), FaultTools.Find("nft")!, rules);

    private string Namespace(int member) => string.Create(CultureInfo.InvariantCulture, $"{_name}n{member}");

    private string Address(int member) => string.Create(CultureInfo.InvariantCulture, $"{_subnet}.{member + 1}");

    private static Task<string> IpAsync(params string[] arguments) => FaultTools.RunAsync("ip", arguments);

    private static async Task TryAsync(params string[] arguments)
    {
        try
        {
            await IpAsync(arguments);
        }
        catch (InvalidOperationException)
        {
            // It is not there, or was never made.
        }
    }

    private static string FreeSubnet()
    {
        var used = NetworkInterface.GetAllNetworkInterfaces().SelectMany(network => network.GetIPProperties().UnicastAddresses).Select(address => address.Address.ToString()).ToArray();
        while (true)
        {
            var subnet = string.Create(CultureInfo.InvariantCulture, $"10.77.{Random.Shared.Next(256)}");
            if (!used.Any(address => address.StartsWith(subnet + ".", StringComparison.Ordinal)))
                return subnet;
        }
    }

    private static async Task RemoveStaleAsync()
    {
        var namespaces = (await IpAsync("netns", "list")).Split('\n').Select(line => line.Split(' ')[0]);
        foreach (var name in namespaces.Where(IsStale))
            await TryAsync("netns", "del", name);
        foreach (var name in NetworkInterface.GetAllNetworkInterfaces().Select(network => network.Name).Where(IsStale))
            await TryAsync("link", "del", name);
    }

    private static bool IsStale(string name)
    {
        if (!name.StartsWith(Prefix, StringComparison.Ordinal))
            return false;
        var owner = string.Concat(name[Prefix.Length..].TakeWhile(char.IsAsciiDigit));
        return owner.Length > 0 && !Directory.Exists($"/proc/{owner}");
    }
}
