using System.Collections.Concurrent;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Leases with a key each, kept by two connections; one that is lost is followed by another. Others are granted now and then.</summary>
internal sealed class LeaseWorkload(Deployment deployment, int seed) : Workload("lease", deployment, seed)
{
    private const int LeasesOfEach = 8;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(6);

    private readonly string _prefix = $"{Deployment.KeyRoot}leased-{Guid.NewGuid():N}/";
    private readonly List<EtcdConnection> _connections = [];
    private readonly ConcurrentBag<Task> _ending = [];
    private readonly ConcurrentDictionary<string, KeptLease> _kept = [];

    public override int Enough => LeasesOfEach * 2;

    public override bool AsksSilos => false;

    public override Task StartAsync()
    {
        for (var i = 0; i < 2; i++)
        {
            var etcd = Deployment.Connect();
            _connections.Add(etcd);
            var renewal = $"renewal over connection {i}";
            History.Expect(renewal);
            for (var j = 0; j < LeasesOfEach; j++)
            {
                var process = History.NewProcess();
                Loop(random => KeepAsync(random, etcd, process, renewal));
            }

            var grant = new Step(History.NewProcess(), $"grant over connection {i}");
            History.Expect(grant.Capability);
            Loop(async random =>
            {
                await History.RunAsync(grant, Timeout, async token =>
                {
                    var lease = await etcd.Leases.GrantAsync(Ttl(random), token);
                    // How soon it is revoked is another matter.
                    _ending.Add(lease.DisposeAsync().AsTask());
                    return grant;
                });
                await PauseAsync(random, 200, 600);
            });
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts) =>
        LeaseChecker.Check(facts.Log.Under(_prefix), _kept, facts, facts.MayRevoke, findings);

    public override async ValueTask DisposeAsync()
    {
        await Task.WhenAll(_ending);
        foreach (var connection in _connections)
            await connection.DisposeAsync();
        await base.DisposeAsync();
    }

    private static TimeSpan Ttl(Random random) => TimeSpan.FromSeconds(random.Next(4, 9));

    /// <summary>Keeps one lease until it is lost or the run ends.</summary>
    private async Task KeepAsync(Random random, EtcdConnection etcd, int process, string renewal)
    {
        EtcdLease? lease = null;
        var name = $"{Guid.NewGuid():N}";
        var granted = await History.RunAsync(new Step(process, "grant"), Timeout, async token =>
        {
            lease = await etcd.Leases.GrantAsync(Ttl(random), token);
            await etcd.PutAsync(_prefix + name, "", lease.Id, token);
            return new Step(process, "grant");
        });
        if (lease is null)
            return;
        await using var own = lease;
        if (granted.Outcome != Outcome.Ok)
            return;
        var kept = _kept[name] = new KeptLease(lease.Ttl);
        await using var loss = lease.Lost.Register(() => kept.LostAt = MonotonicClock.Now);
        while (!Stopping.IsCancellationRequested && !lease.Lost.IsCancellationRequested)
        {
            var renewed = lease.Remaining;
            await Task.Delay(200, CancellationToken.None);
            // A renewal that was answered is a success like any call.
            if (lease.Remaining > renewed)
                History.Add(new Step(process, renewal) { Ended = MonotonicClock.Now });
        }
    }
}
