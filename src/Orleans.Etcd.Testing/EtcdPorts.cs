namespace Orleans.Etcd.Testing;

/// <summary>The loopback ports of one member.</summary>
internal sealed record EtcdPorts(int Client, int Peer, int Metrics)
{
    public static EtcdPorts Take() => new(LoopbackPort.Take(), LoopbackPort.Take(), LoopbackPort.Take());

    public void Release()
    {
        LoopbackPort.Release(Client);
        LoopbackPort.Release(Peer);
        LoopbackPort.Release(Metrics);
    }
}
