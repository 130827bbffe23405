using System.Net;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Membership entries such as a cluster in production has.</summary>
internal static class Silos
{
    private static readonly DateTime Start = new(2026, 1, 1, 0, 0, 0, DateTimeKind.Utc);

    public static MembershipEntry Entry(int number, int writes = 0) => new()
    {
        SiloAddress = SiloAddress.New(new IPEndPoint(new IPAddress([10, 0, (byte)(number >> 8), (byte)number]), 11111), 500_000_000 + number),
        Status = SiloStatus.Active,
        SiloName = $"orders-{number:00000}",
        HostName = $"orders-{number:00000}.orders.svc.cluster.local",
        ProxyPort = 30000,
        RoleName = "orders",
        StartTime = Start,
        IAmAliveTime = Start.AddSeconds(number + writes),
    };
}
