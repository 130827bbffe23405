using System.Net;
using System.Net.Sockets;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>
/// Members on loopback with proxies before their client and peer ports, where namespaces cannot be had. A peer is told apart
/// by the process that holds its end of the connection, so that each direction of each pair is cut by itself.
/// </summary>
/// <remarks>A cut holds bytes back, as TCP does over a cut network, always both ways; loss is made of short stalls, as its retransmissions are.</remarks>
internal sealed class LoopbackNetwork : IMemberNetwork
{
    private readonly EtcdPorts[] _ports;
    private readonly TcpProxy[] _clients;
    private readonly TcpProxy[,] _links;
    private readonly PeerDoor[] _doors;
    private readonly Dictionary<TcpProxy, int> _stalls = [];
    private EtcdCluster? _cluster;

    public LoopbackNetwork(int members)
    {
        _ports = [.. Enumerable.Range(0, members).Select(_ => EtcdPorts.Take())];
        _clients = [.. _ports.Select(port => TcpProxy.Start(Loopback(port.Client)))];
        _links = new TcpProxy[members, members];
        for (var from = 0; from < members; from++)
        {
            for (var to = 0; to < members; to++)
                _links[from, to] = TcpProxy.Start(Loopback(_ports[to].Peer));
        }

        _doors = [.. Enumerable.Range(0, members).Select(to => new PeerDoor(port => _links[From(port) ?? to, to].Endpoint))];
        Places = [.. _ports.Select((port, member) => new EtcdPlace(port) { Clients = _clients[member].Endpoint, Peers = _doors[member].Endpoint })];
    }

    public string Name => "loopback proxies";

    public IReadOnlyList<EtcdPlace> Places { get; }

    /// <summary>Who connected before could not be told apart: they connect again, now through their own links.</summary>
    public void Started(EtcdCluster cluster)
    {
        _cluster = cluster;
        foreach (var door in _doors)
            door.BreakAll();
    }

    public Task<IAsyncDisposable> CutFromPeersAsync(int member, bool oneWay)
    {
        var others = Enumerable.Range(0, Places.Count).Where(other => other != member).ToArray();
        // One way is both ways here: members hear each other over connections that either has made.
        return Task.FromResult(Stall([.. others.Select(other => _links[other, member]), .. others.Select(other => _links[member, other])]));
    }

    public Task<IAsyncDisposable> CutFromClientsAsync(int member) => Task.FromResult(Stall([_clients[member]]));

    public Task<IAsyncDisposable> LosePacketsAsync(int member, int percent)
    {
        var stop = new CancellationTokenSource();
        var running = Task.Run(async () =>
        {
            TcpProxy[] proxies = [_clients[member], .. Enumerable.Range(0, Places.Count).Where(other => other != member).Select(other => _links[other, member])];
            while (!stop.IsCancellationRequested)
            {
                // Linux sends again after 200 ms.
                await using (Stall([proxies[Random.Shared.Next(proxies.Length)]]))
                    await Task.Delay(200);
                await Task.Delay(Math.Max(20_000 / Math.Max(percent, 1) / proxies.Length, 1));
            }
        });
        return Task.FromResult<IAsyncDisposable>(new Undo(async () =>
        {
            await stop.CancelAsync();
            await running;
            stop.Dispose();
        }));
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var door in _doors)
            await door.DisposeAsync();
        foreach (var proxy in _clients.Concat(_links.Cast<TcpProxy>()))
            await proxy.DisposeAsync();
    }

    private static Uri Loopback(int port) => new UriBuilder("http", "127.0.0.1", port).Uri;

    private int? From(int port)
    {
        // Before all have started, there is nothing to be cut.
        if (_cluster is not { } cluster)
            return null;
        var processes = new Dictionary<int, int>();
        for (var member = 0; member < cluster.Members.Count; member++)
        {
            if (cluster.Members[member].TryGetProcessId() is { } id)
                processes[id] = member;
        }

        return SocketOwner.Find(port, processes.Keys) is { } owner ? processes[owner] : null;
    }

    /// <summary>Two faults may stall the same one: it passes again when both have ended.</summary>
    private IAsyncDisposable Stall(TcpProxy[] proxies)
    {
        lock (_stalls)
        {
            foreach (var proxy in proxies)
            {
                _stalls[proxy] = _stalls.GetValueOrDefault(proxy) + 1;
                proxy.Stall();
            }
        }

        return new Undo(() =>
        {
            lock (_stalls)
            {
                foreach (var proxy in proxies)
                {
                    if (--_stalls[proxy] == 0)
                        proxy.Pass();
                }
            }

            return Task.CompletedTask;
        });
    }
}

/// <summary>Where the peers of a member connect: each is sent on through the link that is its own.</summary>
internal sealed class PeerDoor : IAsyncDisposable
{
    private readonly TcpListener _listener = new(IPAddress.Loopback, LoopbackPort.Take());
    private readonly Func<int, Uri> _link;
    private readonly HashSet<Socket> _open = [];
    private readonly Task _accepting;

    public PeerDoor(Func<int, Uri> link)
    {
        _link = link;
        _listener.Start();
        Endpoint = new UriBuilder("http", "127.0.0.1", ((IPEndPoint)_listener.LocalEndpoint).Port).Uri;
        _accepting = Task.Run(AcceptAsync);
    }

    public Uri Endpoint { get; }

    public async ValueTask DisposeAsync()
    {
        _listener.Stop();
        await _accepting;
        BreakAll();
    }

    public void BreakAll()
    {
        lock (_open)
        {
            foreach (var socket in _open)
                socket.Dispose();
        }
    }

    private async Task AcceptAsync()
    {
        try
        {
            while (true)
                _ = ServeAsync(await _listener.AcceptSocketAsync());
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException or InvalidOperationException)
        {
            // It was stopped.
        }
    }

    private async Task ServeAsync(Socket peer)
    {
        var link = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        lock (_open)
        {
            _open.Add(peer);
            _open.Add(link);
        }

        try
        {
            peer.NoDelay = true;
            await link.ConnectAsync(IPAddress.Loopback, _link(((IPEndPoint)peer.RemoteEndPoint!).Port).Port);
            await using var inner = new NetworkStream(link);
            await using var outer = new NetworkStream(peer);
            await Task.WhenAny(inner.CopyToAsync(outer), outer.CopyToAsync(inner));
        }
        catch (Exception exception) when (exception is IOException or SocketException or ObjectDisposedException)
        {
            // Either end is gone, and so is the other.
        }
        finally
        {
            lock (_open)
            {
                _open.Remove(peer);
                _open.Remove(link);
            }

            peer.Dispose();
            link.Dispose();
        }
    }
}
