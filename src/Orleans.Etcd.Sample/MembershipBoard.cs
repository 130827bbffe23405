namespace Orleans.Etcd.Sample;

/// <summary>Shows membership as the cluster itself sees it, line by line as it changes.</summary>
internal sealed class MembershipBoard(IGrainFactory grains, Action<string> show)
{
    private static readonly TimeSpan Period = TimeSpan.FromMilliseconds(250);

    private readonly object _lock = new();
    private readonly Dictionary<string, SiloStatus> _seen = [];

    /// <summary>Looks again and again until it is cancelled.</summary>
    public async Task RunAsync(CancellationToken cancellationToken)
    {
        while (!cancellationToken.IsCancellationRequested)
        {
            try
            {
                var hosts = await grains.GetGrain<IManagementGrain>(0).GetDetailedHosts(onlyActive: false, cancellationToken: cancellationToken).WaitAsync(TimeSpan.FromSeconds(5), cancellationToken);
                foreach (var host in hosts)
                    Note(host.SiloName, host.Status);
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException or OperationCanceledException)
            {
                // The silo that was asked may be the one that went; the next look asks another.
            }

            await Task.Delay(Period, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Waits until the cluster says that these silos have this status; false when it does not within the time.</summary>
    public async Task<bool> SeesAsync(SiloStatus status, TimeSpan within, CancellationToken cancellationToken, params string[] silos)
    {
        for (var waited = TimeSpan.Zero; waited < within; waited += Period)
        {
            lock (_lock)
            {
                if (silos.All(silo => _seen.GetValueOrDefault(silo) == status))
                    return true;
            }

            await Task.Delay(Period, cancellationToken);
        }

        return false;
    }

    private void Note(string silo, SiloStatus status)
    {
        lock (_lock)
        {
            if (_seen.TryGetValue(silo, out var before) && before == status)
                return;
            _seen[silo] = status;
        }

        show($"{silo} is {status}");
    }
}
