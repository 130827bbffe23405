using System.Globalization;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>Which process holds the other end of a loopback connection, from what the kernel shows in <c>/proc</c>.</summary>
internal static class SocketOwner
{
    /// <summary>The first of these processes that has a socket bound to a local port; null if none has.</summary>
    public static int? Find(int localPort, IEnumerable<int> processes)
    {
        var suffix = string.Create(CultureInfo.InvariantCulture, $":{localPort:X4}");
        var sockets = new[] { "/proc/net/tcp", "/proc/net/tcp6" }.Where(File.Exists)
            .SelectMany(file => File.ReadLines(file).Skip(1))
            .Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Where(fields => fields[1].EndsWith(suffix, StringComparison.Ordinal))
            .Select(fields => $"socket:[{fields[9]}]")
            .ToHashSet();
        return processes.Select(process => (int?)process).FirstOrDefault(process => Holds(process!.Value, sockets));
    }

    private static bool Holds(int process, HashSet<string> sockets)
    {
        try
        {
            return new DirectoryInfo(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/fd")).EnumerateFileSystemInfos().Any(file => file.LinkTarget is { } target && sockets.Contains(target));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
