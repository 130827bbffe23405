using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>What lies between the members of a cluster, and between them and their clients, and can be cut there.</summary>
internal interface IMemberNetwork : IAsyncDisposable
{
    /// <summary>How it is made, for the report.</summary>
    string Name { get; }

    /// <summary>Where the members run.</summary>
    IReadOnlyList<EtcdPlace> Places { get; }

    /// <summary>Tells it which processes its members are.</summary>
    void Started(EtcdCluster cluster);

    /// <summary>Nothing passes between a member and its peers until what is answered is disposed of.</summary>
    /// <param name="member">Which one, from 0.</param>
    /// <param name="oneWay">Whether only what others send to it is dropped.</param>
    Task<IAsyncDisposable> CutFromPeersAsync(int member, bool oneWay);

    /// <summary>Nothing passes between a member and clients.</summary>
    Task<IAsyncDisposable> CutFromClientsAsync(int member);

    /// <summary>A part of what a member is sent is lost, and sent again by TCP.</summary>
    Task<IAsyncDisposable> LosePacketsAsync(int member, int percent);
}

/// <summary>What has to be done to end a fault, done once.</summary>
internal sealed class Undo(Func<Task> action) : IAsyncDisposable
{
    private Func<Task>? _action = action;

    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _action, null) is { } action)
            await action();
    }
}
