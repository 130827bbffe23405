using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;
using Orleans.Runtime.Placement;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>
/// Locks that nobody else wants, had again and again by each silo and each client: how soon they are had says how the place fares,
/// where one that all contend for also takes the time until those who came before have had it.
/// </summary>
internal sealed class EachPlaceWorkload(Deployment deployment, int seed) : Workload("own locks", deployment, seed)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    // Longer than it may be away, so that what fails is not the wait.
    private static readonly TimeSpan Within = TimeSpan.FromSeconds(20);

    public override int Enough => Plan.Silos * 10;

    public override Task StartAsync()
    {
        for (var i = 0; i < Deployment.Silos.Count; i++)
        {
            var (silo, name) = (i, $"silo-{i}-{Guid.NewGuid():N}");
            Repeat($"lock in silo {i}", async (random, step) =>
            {
                if (Deployment.Silos[silo].Address() is not { } address)
                    return step with { Action = "nothing" };
                RequestContext.Set(IPlacementDirector.PlacementHintKey, address);
                // Where the silo is gone, it is had by another.
                return (await Deployment.Clients[silo % 2].GetGrain<ISiloLock>(random.NextInt64()).HaveOnce(name, Within)).Equals(address) ? step : step with { Action = "lock elsewhere" };
            });
        }

        foreach (var (client, number) in Deployment.Clients.Select((client, number) => (client, number)))
        {
            foreach (var kind in Enum.GetValues<HoldKind>())
            {
                var own = LockWork.Get(client.ServiceProvider.GetRequiredService<ILocks>(), kind, $"client-{number}-{kind}-{Guid.NewGuid():N}");
                Repeat($"{kind} in client {number}", async (_, step) =>
                {
                    using var limit = new CancellationTokenSource(Within);
                    await using (await own.AcquireAsync(limit.Token))
                        return step;
                }, Within + new EtcdLockOptions().ReleaseTimeout);
            }
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts) =>
        findings.Count("own locks had", History.Steps.Count(step => step.Succeeded));

    private void Repeat(string capability, Func<Random, Step, Task<Step>> once, TimeSpan? limit = null)
    {
        var step = new Step(History.NewProcess(), capability);
        History.Expect(step.Capability);
        Loop(async random =>
        {
            await PauseAsync(random, 300, 600);
            await History.RunAsync(step, limit ?? GrainCallLimit, _ => once(random, step), Patience);
        });
    }
}
