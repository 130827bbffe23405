using System.Text.Json;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Calls of grains all over the cluster, from two clients; and who is declared dead meanwhile.</summary>
internal sealed class ClusterWorkload(Deployment deployment, int seed) : Workload("grain calls", deployment, seed)
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(5);

    public override int Enough => 200;

    public override Task StartAsync()
    {
        foreach (var (client, number) in Deployment.Clients.Select((client, number) => (client, number)))
        {
            var call = $"call of client {number}";
            History.Expect(call);
            for (var i = 0; i < 2; i++)
            {
                var step = new Step(History.NewProcess(), call);
                Loop(async random =>
                {
                    await History.RunAsync(step, GrainCallLimit, async _ =>
                    {
                        await client.GetGrain<IWhere>(random.Next(1_000)).Here();
                        return step;
                    }, Patience);
                    await PauseAsync(random, 40, 120);
                });
            }
        }

        return Task.CompletedTask;
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var rows = facts.Log.Under(EtcdKeys.Silos(EtcdKeys.Cluster(Configuration.EtcdOptions.DefaultKeyPrefix, Deployment.Id, Deployment.Id)));
        foreach (var fault in CheckDeaths(rows, Deployment.MayDie))
            findings.Violated(fault);
        // Calls between silos need no etcd.
        if (!facts.Schedule.Faults.Any(fault => fault.Fault.IsOfSilo) && History.Steps.FirstOrDefault(step => step.Outcome != Outcome.Ok && step.Invoked >= facts.Began) is { } failed)
            findings.Violated($"a call of a grain failed, and nothing had been done to any silo: {failed.Error}");
    }

    /// <summary>Nobody dies whom nobody has attacked before, and who is dead stays so.</summary>
    public static IEnumerable<string> CheckDeaths(LogPart rows, IReadOnlyDictionary<string, long> attacked)
    {
        var dead = rows.Initial.Where(row => IsDead(row.Value)).Select(row => row.Key).ToHashSet();
        foreach (var revision in rows.Revisions)
        {
            foreach (var (silo, row) in revision.Changes)
            {
                if (row is null)
                    dead.Remove(silo);
                else if (!IsDead(row) && dead.Contains(silo))
                    yield return $"{silo} was dead, and is not at {revision.Number}";
                else if (IsDead(row) && dead.Add(silo) && !(attacked.TryGetValue(silo[..silo.IndexOf('@', StringComparison.Ordinal)], out var at) && at <= revision.Heard))
                    yield return $"{silo} was declared dead at {revision.Number}, and nothing had been done to it: {row}";
            }
        }
    }

    private static bool IsDead(string row) => JsonDocument.Parse(row).RootElement.GetProperty("Status").GetString() == nameof(SiloStatus.Dead);
}
