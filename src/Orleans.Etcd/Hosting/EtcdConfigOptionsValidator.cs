using Microsoft.Extensions.Options;
using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>Checks <see cref="EtcdConfigOptions"/> as a whole when the silo starts.</summary>
internal sealed class EtcdConfigOptionsValidator(IOptions<EtcdConfigOptions> options) : IConfigurationValidator
{
    // As many as may be made while the answer to one is lost.
    private const int FewestCommits = 100;
    private const int MostCommits = 10_000;
    private const int LongestName = 256;

    public void ValidateConfiguration()
    {
        var config = options.Value;
        var failures = new List<string>();
        if (config.Root is { } root && (root.Length < 2 || root.Length > EtcdKeys.MaxSegmentLength || !root.EndsWith('/') || !EtcdKeys.IsUtf8(root)))
            failures.Add($"{Name(nameof(config.Root))} is '{root}'; it must be valid Unicode of 2 to {EtcdKeys.MaxSegmentLength} characters that ends in a slash.");
        foreach (var name in config.Namespaces.Where(name => string.IsNullOrEmpty(name) || name.Length > EtcdKeys.MaxSegmentLength || !EtcdKeys.IsUtf8(name)))
            failures.Add($"{Name(nameof(config.Namespaces))} has '{name}'; a namespace is valid Unicode of 1 to {EtcdKeys.MaxSegmentLength} characters.");
        OptionRange.Check(Name(nameof(config.StartupTimeout)), config.StartupTimeout, TimeSpan.FromSeconds(1), TimeSpan.FromHours(1), failures);
        if (config.HistoryLimit is < FewestCommits or > MostCommits)
            failures.Add($"{Name(nameof(config.HistoryLimit))} is {config.HistoryLimit}; it must be from {FewestCommits} to {MostCommits}.");
        if (config.InstanceName is { } instance && (instance.Length is < 1 or > LongestName || !EtcdKeys.IsUtf8(instance)))
            failures.Add($"{Name(nameof(config.InstanceName))} must be valid Unicode of 1 to {LongestName} characters.");
        if (failures.Count > 0)
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, failures));
    }

    private static string Name(string option) => $"{nameof(EtcdConfigOptions)}.{option}";
}
