using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace Orleans.Etcd.Testing;

/// <summary>Finds free loopback ports for servers that a test or a sample starts. Thread safe.</summary>
/// <remarks>
/// Taken from below the range the kernel uses for outgoing connections. A stopped server's port then cannot be taken by
/// somebody's outgoing connection, nor by a reconnecting client that happens to connect to itself. Within a process no
/// port is given twice; another process may take one before it is bound.
/// </remarks>
public static class LoopbackPort
{
    private const int Lowest = 10_000;
    private static readonly object Gate = new();
    private static readonly HashSet<int> Taken = [];

    /// <summary>A port that is free on 127.0.0.1 now and that this process has not been given before.</summary>
    /// <returns>The port.</returns>
    /// <exception cref="EtcdServerException">No free port was found.</exception>
    public static int Take()
    {
        var end = FirstOutgoingPort();
        lock (Gate)
        {
            for (var attempt = 0; attempt < 1_000; attempt++)
            {
                // Port 0, any free port, where the machine keeps no room below its outgoing range.
                var port = TryBind(end - Lowest < 1_000 ? 0 : Random.Shared.Next(Lowest, end));
                if (port != 0 && Taken.Add(port)) return port;
            }
        }

        throw new EtcdServerException("No free loopback port was found in 1,000 attempts.");
    }

    /// <summary>Gives a port back, so that it may be taken again.</summary>
    internal static void Release(int port)
    {
        lock (Gate)
            Taken.Remove(port);
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
