using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>Writes a line for each change of a silo's status as soon as Orleans shows it, with the time.</summary>
internal sealed class MembershipReporter(IClusterMembershipService membership) : BackgroundService
{
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        var known = new Dictionary<SiloAddress, SiloStatus>();
        await foreach (var snapshot in membership.MembershipUpdates.WithCancellation(stoppingToken))
        {
            var now = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
            foreach (var (silo, member) in snapshot.Members)
            {
                if (known.GetValueOrDefault(silo) != member.Status)
                    Console.WriteLine($"membership {silo.ToParsableString()} {member.Status} {now}");
                known[silo] = member.Status;
            }
        }
    }
}
