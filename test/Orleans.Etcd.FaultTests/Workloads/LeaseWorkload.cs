using System.Collections.Concurrent;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Leases with a key each, kept by two connections; one that is lost is followed by another.</summary>
internal sealed class LeaseWorkload(Deployment deployment, int seed) : Workload("lease", deployment, seed)
{
    private const int LeasesOfEach = 8;
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(6);

    private readonly string _prefix = $"{Deployment.KeyRoot}leased-{Guid.NewGuid():N}/";
    private readonly List<EtcdConnection> _connections = [];
    private readonly ConcurrentDictionary<string, Kept> _kept = [];

    // It grants once and keeps: that is all it asks, besides reading now and then to see that etcd answers.
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
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var log = facts.Log.Under(_prefix);
        foreach (var revision in log.Revisions.Where(revision => revision.Heard < facts.Ended))
        {
            foreach (var (key, _) in revision.Changes.Where(change => change.Value is null))
                Judge(key, revision.Heard);
        }

        var lost = _kept.Values.Count(kept => kept.LostAt is not null);
        findings.Count("leases kept", _kept.Count - lost);
        findings.Count("leases lost", lost);
        if (facts.Schedule.Kind == ScheduleKind.Control && lost > 0)
            findings.Violated($"{lost} leases were lost without any fault");

        void Judge(string key, long gone)
        {
            if (!_kept.TryGetValue(key, out var kept) || kept.LostAt <= gone)
                return;
            // Whatever etcd does, its owner does not believe in it for longer than the TTL that was last granted.
            var late = TimeSpan.FromMicroseconds((kept.LostAt ?? facts.Ended) - gone);
            if (facts.MayRevoke(gone) && late <= kept.Ttl)
                findings.Count(late <= ToldWithin(kept.Ttl) ? "live leases taken away by etcd, told by the next renewal" : "live leases taken away by etcd, told by the clock");
            else
                findings.Violated($"lease {key} was gone at {gone}, and its loss was {(kept.LostAt is null ? "not" : "")} told {late.TotalMilliseconds:0.0} ms later");
        }
    }

    /// <summary>The next renewal says so, where it is answered.</summary>
    private static TimeSpan ToldWithin(TimeSpan ttl) => TimeSpan.FromSeconds(1) + (ttl / 3);

    public override async ValueTask DisposeAsync()
    {
        foreach (var connection in _connections)
            await connection.DisposeAsync();
        await base.DisposeAsync();
    }

    /// <summary>Keeps one lease until it is lost or the run ends.</summary>
    private async Task KeepAsync(Random random, EtcdConnection etcd, int process, string renewal)
    {
        EtcdLease? lease = null;
        var name = $"{Guid.NewGuid():N}";
        var granted = await History.RunAsync(new Step(process, "grant"), Timeout, async token =>
        {
            lease = await etcd.Leases.GrantAsync(TimeSpan.FromSeconds(random.Next(4, 9)), token);
            await etcd.PutAsync(_prefix + name, "", lease.Id, token);
            return new Step(process, "grant");
        });
        if (lease is null)
            return;
        await using var own = lease;
        if (granted.Outcome != Outcome.Ok)
            return;
        var kept = _kept[name] = new Kept(lease.Ttl);
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

    private sealed class Kept(TimeSpan ttl)
    {
        private long _lostAt;

        public TimeSpan Ttl => ttl;

        public long? LostAt
        {
            get => Volatile.Read(ref _lostAt) is var at and not 0 ? at : null;
            set => Volatile.Write(ref _lostAt, value ?? 0);
        }
    }
}
