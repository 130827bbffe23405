using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;
using Orleans.Runtime.Placement;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>
/// A lock of each silo's own, had again and again by a grain there: where silos contend with each other, one whose connection to
/// etcd stays dead is not missed.
/// </summary>
internal sealed class EachSiloWorkload(Deployment deployment, int seed) : Workload("each silo", deployment, seed)
{
    // Orleans' own is 30 s; a call that is lost with its silo waits for it, and who asked goes on.
    private static readonly TimeSpan Timeout = TimeSpan.FromSeconds(31);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    // Longer than it may be away, so that what fails is not the wait.
    private static readonly TimeSpan Within = TimeSpan.FromSeconds(20);

    public override int Enough => Plan.Silos * 10;

    public override Task StartAsync()
    {
        for (var i = 0; i < Deployment.Silos.Count; i++)
        {
            var (silo, name) = (i, $"silo-{i}-{Guid.NewGuid():N}");
            var step = new Step(History.NewProcess(), $"lock in silo {i}");
            History.Expect(step.Capability);
            Loop(async random =>
            {
                await PauseAsync(random, 100, 300);
                if (Deployment.Silos[silo].Address() is not { } address)
                    return;
                await History.RunAsync(step, Timeout, async _ =>
                {
                    RequestContext.Set(IPlacementDirector.PlacementHintKey, address);
                    // Where the silo is gone, it is had by another.
                    return (await Deployment.Clients[silo % 2].GetGrain<ISiloLock>(random.NextInt64()).HaveOnce(name, Within)).Equals(address) ? step : step with { Action = "lock elsewhere" };
                }, Patience);
            });
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts) =>
        findings.Count("locks of silos of their own, had", History.Steps.Count(step => step.Succeeded));
}
