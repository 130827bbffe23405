using System.Diagnostics;
using System.Globalization;

namespace Orleans.Etcd.Testing;

/// <summary>The command line that starts etcd so that it cannot outlive the process that owns it.</summary>
internal static class EtcdCommand
{
    // $1 owner, $2 log file, then etcd and its arguments. The death signal is set before the parent is checked: had the
    // owner died in between, the signal would never come, but then the parent is somebody else already.
    private const string Script =
        """[ "$PPID" = "$1" ] || exit 1; log="$2"; shift 2; exec "$@" >> "$log" 2>&1 < /dev/null""";

    public static ProcessStartInfo Create(IReadOnlyList<string> command, string logFile)
    {
        var owner = Environment.ProcessId.ToString(CultureInfo.InvariantCulture);
        var start = ProcessStarter.EndingWithUs(["/bin/sh", "-c", Script, "etcd", owner, logFile, .. command]);
        start.WorkingDirectory = Path.GetDirectoryName(logFile)!;
        ClearEnvironment(start);
        return start;
    }

    /// <summary>
    /// etcd reads every flag from the environment too: a stray ETCD_NAME would change what is started. So does etcdctl, which
    /// refuses one that it is also given as an argument.
    /// </summary>
    public static void ClearEnvironment(ProcessStartInfo start)
    {
        foreach (var name in start.Environment.Keys.Where(IsSetting).ToArray())
            start.Environment.Remove(name);
    }

    // ETCD_UNSUPPORTED_ARCH configures nothing: it is a permission some architectures need.
    private static bool IsSetting(string name) =>
        (name.StartsWith("ETCD_", StringComparison.Ordinal) || name.StartsWith("ETCDCTL_", StringComparison.Ordinal)) && name != "ETCD_UNSUPPORTED_ARCH";
}
