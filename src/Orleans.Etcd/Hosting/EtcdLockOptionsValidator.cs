using Microsoft.Extensions.Options;
using Orleans.Etcd;

namespace Orleans.Configuration;

/// <summary>Checks <see cref="EtcdLockOptions"/> as a whole when the silo or client starts.</summary>
internal sealed class EtcdLockOptionsValidator(IOptions<EtcdLockOptions> options) : IConfigurationValidator
{
    private const int LongestOwner = 256;

    public void ValidateConfiguration()
    {
        var locks = options.Value;
        var failures = new List<string>();
        OptionRange.Check(Name(nameof(locks.SessionTtl)), locks.SessionTtl, TimeSpan.FromSeconds(2), TimeSpan.FromMinutes(10), failures);
        OptionRange.Check(Name(nameof(locks.ReleaseTimeout)), locks.ReleaseTimeout, TimeSpan.FromMilliseconds(100), TimeSpan.FromMinutes(1), failures);
        OptionRange.Check(Name(nameof(locks.OutageTimeout)), locks.OutageTimeout, TimeSpan.Zero, TimeSpan.FromHours(1), failures);
        if (string.IsNullOrEmpty(locks.Owner) || locks.Owner.Length > LongestOwner || !EtcdKeys.IsUtf8(locks.Owner))
            failures.Add($"{Name(nameof(locks.Owner))} must be valid Unicode of 1 to {LongestOwner} characters.");
        if (failures.Count > 0)
            throw new OrleansConfigurationException(string.Join(Environment.NewLine, failures));
    }

    private static string Name(string option) => $"{nameof(EtcdLockOptions)}.{option}";
}
