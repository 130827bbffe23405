using Microsoft.Extensions.Options;
using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>Checks <see cref="EtcdLivenessOptions"/> as a whole when the silo starts.</summary>
internal sealed class EtcdLivenessOptionsValidator(IOptions<EtcdLivenessOptions> options) : IConfigurationValidator
{
    public void ValidateConfiguration()
    {
        var liveness = options.Value;
        var failures = new List<string>();
        OptionRange.Check(Name(nameof(liveness.LeaseTtl)), liveness.LeaseTtl, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10), failures);
        OptionRange.Check(Name(nameof(liveness.PingTimeout)), liveness.PingTimeout, TimeSpan.FromSeconds(1.5), TimeSpan.FromMinutes(1), failures);
        if (liveness.PingInterval != TimeSpan.Zero)
            OptionRange.Check(Name(nameof(liveness.PingInterval)), liveness.PingInterval, TimeSpan.FromSeconds(0.2), TimeSpan.FromMinutes(1), failures);
        OptionRange.Check(Name(nameof(liveness.Agents)), liveness.Agents, 1, 10, failures);
        if (!Enum.IsDefined(liveness.EvictionPolicy))
            failures.Add($"{Name(nameof(liveness.EvictionPolicy))} is {liveness.EvictionPolicy}, which is none of {string.Join(", ", Enum.GetNames<EtcdEvictionPolicy>())}.");
        if (failures.Count > 0)
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, failures));
    }

    private static string Name(string option) => $"{nameof(EtcdLivenessOptions)}.{option}";
}
