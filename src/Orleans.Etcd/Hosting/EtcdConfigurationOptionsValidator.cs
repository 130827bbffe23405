using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>Checks <see cref="EtcdConfigurationOptions"/> as a whole when it is added.</summary>
internal static class EtcdConfigurationOptionsValidator
{
    private const int LongestName = 256;

    public static void Validate(EtcdConfigurationOptions options)
    {
        var failures = new List<string>();
        var etcd = new EtcdOptionsValidator().Validate(null, options.Etcd);
        if (etcd.Failed)
            failures.AddRange(etcd.Failures);
        if (options.Layers.Count == 0)
            failures.Add($"{Name(nameof(options.Layers))} is empty; name at least one prefix.");
        foreach (var prefix in options.Layers.Select(layer => layer.Prefix).Where(prefix => string.IsNullOrEmpty(prefix) || prefix.Length is < 2 or > EtcdKeys.MaxSegmentLength || !prefix.EndsWith('/') || !EtcdKeys.IsUtf8(prefix)))
            failures.Add($"{Name(nameof(options.Layers))} has the prefix '{prefix}'; it must be valid Unicode of 2 to {EtcdKeys.MaxSegmentLength} characters that ends in a slash.");
        OptionRange.Check(Name(nameof(options.StartupTimeout)), options.StartupTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromHours(1), failures);
        OptionRange.Check(Name(nameof(options.ReloadDelay)), options.ReloadDelay, TimeSpan.Zero, TimeSpan.FromMinutes(1), failures);
        if (string.IsNullOrEmpty(options.InstanceName) || options.InstanceName.Length > LongestName || !EtcdKeys.IsUtf8(options.InstanceName))
            failures.Add($"{Name(nameof(options.InstanceName))} must be valid Unicode of 1 to {LongestName} characters.");
        if (options.LastKnownGoodFile is { } file && (file.Length == 0 || Directory.Exists(file)))
            failures.Add($"{Name(nameof(options.LastKnownGoodFile))} is '{file}'; it must be the path of a file.");
        if (failures.Count > 0)
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, failures));
    }

    private static string Name(string option) => $"{nameof(EtcdConfigurationOptions)}.{option}";
}
