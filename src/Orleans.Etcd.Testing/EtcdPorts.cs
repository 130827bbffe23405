using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Orleans.Etcd.Testing;

/// <summary>The loopback ports of one member.</summary>
/// <remarks>
/// Taken from below the range the kernel uses for outgoing connections. A stopped server's port then cannot be taken by
/// somebody's outgoing connection, nor by a reconnecting client that happens to connect to itself.
/// </remarks>
internal sealed record EtcdPorts(int Client, int Peer, int Metrics)
{
    private const int Lowest = 10_000;
    private static readonly object Gate = new();
    private static readonly HashSet<int> Taken = [];

    public static EtcdPorts Take()
    {
        lock (Gate)
            return new EtcdPorts(TakeOne(), TakeOne(), TakeOne());
    }

    public void Release()
    {
        lock (Gate)
        {
            Taken.Remove(Client);
            Taken.Remove(Peer);
            Taken.Remove(Metrics);
        }
    }

    private static int TakeOne()
    {
        var end = FirstOutgoingPort();
        for (var attempt = 0; attempt < 1_000; attempt++)
        {
            // Port 0, any free port, where the machine keeps no room below its outgoing range.
            var port = TryBind(end - Lowest < 1_000 ? 0 : Random.Shared.Next(Lowest, end));
            if (port != 0 && Taken.Add(port)) return port;
        }

        throw new EtcdServerException("No free loopback port was found in 1,000 attempts.");
    }

    private static int TryBind(int port)
    {
        var listener = new TcpListener(IPAddress.Loopback, port);
        try
        {
            listener.Start();
            return ((IPEndPoint)listener.LocalEndpoint).Port;
        }
        catch (SocketException)
        {
            return 0;
        }
        finally
        {
            listener.Stop();
        }
    }

    private static int FirstOutgoingPort()
    {
        const string file = "/proc/sys/net/ipv4/ip_local_port_range";
        if (!File.Exists(file)) return 32_768;
        var first = File.ReadAllText(file).Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).FirstOrDefault();
        return int.TryParse(first, CultureInfo.InvariantCulture, out var port) ? port : 32_768;
    }
}
