using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests;

/// <summary>A loopback TCP proxy in front of a server, whose faults hold for open and for new connections.</summary>
/// <remarks>
/// The port lies below the range of outgoing connections, so that nobody else takes it while connections are refused.
/// Bytes that were held back are delivered when <see cref="Pass"/> is called, as by a network that was cut for a while.
/// </remarks>
internal sealed class TcpProxy : IAsyncDisposable
{
    private const int BufferSize = 64 * 1024;

    private readonly object _lock = new();
    private readonly EndPoint _target;
    private readonly HashSet<Socket> _open = [];
    private readonly List<Task> _running = [];
    private readonly IPEndPoint _local;
    private Socket? _listener;
    private Socket? _reserved;
    private TaskCompletionSource _requests = Opened();
    private TaskCompletionSource _answers = Opened();
    private bool _reset;
    private int _accepted;

    private TcpProxy(Uri target, IPAddress address)
    {
        _target = new IPEndPoint(IPAddress.Loopback, target.Port);
        (_listener, _local) = ListenAnywhere(address);
        Endpoint = new UriBuilder(target.Scheme, address.ToString(), _local.Port).Uri;
        Track(AcceptAsync(_listener));
    }

    /// <summary>Where clients connect.</summary>
    public Uri Endpoint { get; }

    /// <summary>How many connections it has accepted.</summary>
    public int Accepted => Volatile.Read(ref _accepted);

    public static TcpProxy Start(Uri target, IPAddress? address = null) => new(target, address ?? IPAddress.Loopback);

    /// <summary>Forwards; what was held back goes on.</summary>
    public void Pass() => Switch(requests: true, answers: true, reset: false, listen: true);

    /// <summary>Holds everything back, new connections included, as a frozen server does.</summary>
    public void Stall() => Switch(requests: false, answers: false, reset: false, listen: true);

    /// <summary>Lets requests through and holds the answers back: the server does what it is asked, and nobody hears.</summary>
    public void StallAnswers() => Switch(requests: true, answers: false, reset: false, listen: true);

    /// <summary>Breaks all connections, and every new one at once.</summary>
    public void Reset()
    {
        Switch(requests: false, answers: false, reset: true, listen: true);
        BreakAll();
    }

    /// <summary>Breaks all connections and listens no longer.</summary>
    public void Refuse()
    {
        Switch(requests: false, answers: false, reset: true, listen: false);
        BreakAll();
    }

    /// <summary>Breaks all connections once; new ones are forwarded.</summary>
    public void BreakAll()
    {
        Socket[] open;
        lock (_lock)
        {
            open = [.. _open];
            _open.Clear();
        }

        foreach (var socket in open)
            Break(socket);
    }

    public async ValueTask DisposeAsync()
    {
        Refuse();
        // Whoever waits at a gate goes on and finds its connection broken.
        Switch(requests: true, answers: true, reset: true, listen: false);
        Task[] running;
        lock (_lock)
        {
            running = [.. _running];
            _reserved?.Dispose();
            _reserved = null;
        }

        await Task.WhenAll(running);
    }

    private void Switch(bool requests, bool answers, bool reset, bool listen)
    {
        lock (_lock)
        {
            _reset = reset;
            _requests = Set(_requests, requests);
            _answers = Set(_answers, answers);
            if (listen && _listener is null)
            {
                _listener = _reserved ?? Bind(_local);
                _reserved = null;
                _listener.Listen();
                Track(AcceptAsync(_listener));
            }
            else if (!listen && _listener is not null)
            {
                _listener.Dispose();
                _listener = null;
                _reserved = Reserve(_local);
            }
        }
    }

    private async Task AcceptAsync(Socket listener)
    {
        await Task.Yield();
        while (true)
        {
            Socket client;
            try
            {
                client = await listener.AcceptAsync();
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                return;
            }

            Interlocked.Increment(ref _accepted);
            lock (_lock)
            {
                if (_reset)
                {
                    Break(client);
                    continue;
                }

                _open.Add(client);
            }

            Track(ServeAsync(client));
        }
    }

    private async Task ServeAsync(Socket client)
    {
        await Task.Yield();
        var server = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            client.NoDelay = true;
            await GateAsync(answers: false);
            lock (_lock)
            {
                if (!_open.Contains(client))
                    return;
                _open.Add(server);
            }

            await server.ConnectAsync(_target);
            // Either end closing closes the other.
            await Task.WhenAny(PumpAsync(client, server, answers: false), PumpAsync(server, client, answers: true));
        }
        catch (SocketException)
        {
            // The server is down: so is the connection.
        }
        catch (ObjectDisposedException)
        {
        }
        finally
        {
            lock (_lock)
            {
                _open.Remove(client);
                _open.Remove(server);
            }

            client.Dispose();
            server.Dispose();
        }
    }

    private async Task PumpAsync(Socket from, Socket to, bool answers)
    {
        var buffer = new byte[BufferSize];
        try
        {
            int count;
            while ((count = await from.ReceiveAsync(buffer)) > 0)
            {
                await GateAsync(answers);
                for (var sent = 0; sent < count;)
                    sent += await to.SendAsync(buffer.AsMemory(sent, count - sent));
            }
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            // Broken: ServeAsync closes both.
        }
    }

    private async Task GateAsync(bool answers)
    {
        while (true)
        {
            Task gate;
            lock (_lock)
                gate = (answers ? _answers : _requests).Task;
            if (gate.IsCompleted)
                return;
            await gate;
        }
    }

    private void Track(Task task)
    {
        lock (_lock)
        {
            _running.RemoveAll(static running => running.IsCompletedSuccessfully);
            _running.Add(task);
        }
    }

    private static void Break(Socket socket)
    {
        try
        {
            // An immediate RST instead of an orderly end.
            socket.LingerState = new LingerOption(true, 0);
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
        }

        socket.Dispose();
    }

    private static (Socket Listener, IPEndPoint Local) ListenAnywhere(IPAddress address)
    {
        for (var attempt = 0; ; attempt++)
        {
            var local = new IPEndPoint(address, LoopbackPort.Take());
            try
            {
                var listener = Bind(local);
                listener.Listen();
                return (listener, local);
            }
            catch (SocketException) when (attempt < 100)
            {
            }
        }
    }

    /// <summary>
    /// Keeps the port while connections are refused: bound and not listening. The listener just closed may be open a
    /// moment longer, in a child process that another test is about to start.
    /// </summary>
    private static Socket Reserve(IPEndPoint local)
    {
        for (var clock = Stopwatch.StartNew(); ;)
        {
            try
            {
                return Bind(local);
            }
            catch (SocketException) when (clock.Elapsed < TimeSpan.FromSeconds(5))
            {
                Thread.Yield();
            }
        }
    }

    private static Socket Bind(IPEndPoint local)
    {
        var socket = new Socket(local.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            socket.Bind(local);
            return socket;
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }

    private static TaskCompletionSource Set(TaskCompletionSource gate, bool open)
    {
        if (open)
            gate.TrySetResult();
        return !open && gate.Task.IsCompleted ? new(TaskCreationOptions.RunContinuationsAsynchronously) : gate;
    }

    private static TaskCompletionSource Opened()
    {
        var gate = new TaskCompletionSource();
        gate.SetResult();
        return gate;
    }
}
