namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// One at a time acquires and releases a lock that nobody else wants: one of those that were had a few times before, one
/// that was never had, or one that was had by the thousand, and whose every trace etcd keeps until it is compacted.
/// </summary>
internal sealed class Uncontended(Contest contest, LockHost host, LockPeers peers)
{
    private const int Operations = 200;
    private const int Names = 50;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        await CompareAsync("uncontended", Names, cancellationToken);
        await CompareAsync("uncontended, new", int.MaxValue, cancellationToken);
    }

    /// <summary>Once the contended races have been.</summary>
    public async Task RunAfterUseAsync(CancellationToken cancellationToken)
    {
        var (ours, theirs) = (Contended.UsedName(host.Silo), Contended.UsedName(peers.Go));
        await contest.CompareAsync("uncontended, used", Operations, host.Grain(() => ours), [await peers.Go.CycleAsync(() => theirs)], cancellationToken);
    }

    private async Task CompareAsync(string @case, int names, CancellationToken cancellationToken)
    {
        Func<string> Name(string whose)
        {
            var number = 0;
            return () => $"{@case}-{whose}-{number++ % names}";
        }

        var others = await Task.WhenAll(peers.All.Select(peer => peer.CycleAsync(Name(peer.Name))));
        await contest.CompareAsync(@case, Operations, host.Grain(Name("grain")), others, cancellationToken);
        await contest.CompareAsync(@case, Operations, await host.Client.CycleAsync(Name(host.Client.Name)), others, cancellationToken);
    }
}
