namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// One at a time acquires and releases a lock that nobody else wants: one of those that were had a few times before, one
/// that was never had, or one that was had by the thousand, and whose every trace etcd keeps until it is compacted.
/// </summary>
internal sealed class Uncontended(Contest contest, BareEtcd bare, LockHost host, LockPeers peers)
{
    private const int Operations = 200;
    private const int Names = 50;
    private const double Limit = 1.2;

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
        // Few at a time: the more take turns, the colder the caches that each of them finds.
        var onEtcd = await Task.WhenAll(new[] { new BareWrites(bare).Transactions, peers.Go }.Select(peer => peer.CycleAsync(Name(peer.Name))));
        var others = await Task.WhenAll(peers.All.Where(peer => peer != peers.Go).Select(peer => peer.CycleAsync(Name(peer.Name))));
        await CompareAsync("grain", host.Grain(Name("grain")), host.SiloCall);
        await CompareAsync("client", await host.Client.CycleAsync(Name(host.Client.Name)), host.ClientCall);

        async Task CompareAsync(string from, Contender ours, Func<Task> call)
        {
            var least = await LeastAsync(from, Name($"bare-{from}"), call);
            var figures = await contest.CompareAsync(@case, Operations, ours, [least], cancellationToken);
            await contest.CompareAsync(@case, Operations, ours, onEtcd, cancellationToken);
            if (others.Length > 0)
                await contest.CompareAsync(@case, Operations, ours, others, cancellationToken);
            contest.Report.RatioGoal($"{@case}, {ours.Name}, against {least.Name}", figures[0], Limit);
        }

        Func<string> Name(string whose)
        {
            var number = 0;
            return () => $"{@case}-{whose}-{number++ % names}";
        }
    }

    /// <summary>The two writes and the two grain calls that the asker of a lock grain cannot do without.</summary>
    private async Task<Contender> LeastAsync(string from, Func<string> name, Func<Task> call)
    {
        var acquire = await new BareWrites(bare).CreateAndDelete.OpenAsync();
        return new Contender($"bare create + delete + 2 calls by a {from}", async () =>
        {
            await call();
            var held = await acquire(name());
            await call();
            await held.DisposeAsync();
        });
    }
}
