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
        Range(nameof(liveness.LeaseTtl), liveness.LeaseTtl, TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10), failures);
        Range(nameof(liveness.PingTimeout), liveness.PingTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1), failures);
        Range(nameof(liveness.Agents), liveness.Agents, 1, 10, failures);
        if (!Enum.IsDefined(liveness.EvictionPolicy))
            failures.Add($"{nameof(EtcdLivenessOptions)}.{nameof(liveness.EvictionPolicy)} is {liveness.EvictionPolicy}, which is none of {string.Join(", ", Enum.GetNames<EtcdEvictionPolicy>())}.");
        if (failures.Count > 0)
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, failures));
    }

    private static void Range<T>(string option, T value, T least, T most, List<string> failures)
        where T : IComparable<T>
    {
        if (value.CompareTo(least) < 0 || value.CompareTo(most) > 0)
            failures.Add($"{nameof(EtcdLivenessOptions)}.{option} is {value}; it must lie between {least} and {most}.");
    }
}
