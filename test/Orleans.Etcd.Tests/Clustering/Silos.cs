using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Silos as tests write them down.</summary>
internal static class Silos
{
    public static readonly DateTime Epoch = new(2026, 1, 2, 3, 4, 5, DateTimeKind.Utc);

    public static SiloAddress Address(int number, int generation = 1) => SiloAddress.New(System.Net.IPAddress.Loopback, 10_000 + number, generation);

    public static MembershipEntry Entry(int number, SiloStatus status = SiloStatus.Active, DateTime? alive = null) => new()
    {
        SiloAddress = Address(number),
        Status = status,
        SiloName = $"silo-{number}",
        HostName = "host",
        RoleName = "role",
        ProxyPort = 30_000 + number,
        StartTime = Epoch,
        IAmAliveTime = alive ?? Epoch,
        SuspectTimes = [],
    };

    public static async Task InsertAsync(this EtcdMembershipTable table, params MembershipEntry[] entries)
    {
        foreach (var entry in entries)
        {
            var version = (await table.ReadAllAsync()).Version;
            Assert.True(await table.InsertRowAsync(entry, version.Next()));
        }
    }

    /// <summary>Everything that a view says, as text that can be compared.</summary>
    public static string Describe(this MembershipTableData data) =>
        $"{data.Version} " + string.Join(" | ", data.Members.OrderBy(member => member.Item1.SiloAddress.ToParsableString(), StringComparer.Ordinal).Select(member => $"{member.Item2} {member.Item1.ToFullString()} {member.Item1.IAmAliveTime.Ticks}"));
}
