using System.Collections.Concurrent;
using System.Globalization;

namespace Orleans.Etcd.Testing;

/// <summary>A directory of our own whose name tells who owns it, so that what a killed owner left behind can be removed.</summary>
/// <remarks>
/// The name is <c>etcd-testing-{pid namespace}-{process id}-{process start time}-{random}</c>. The namespace is there
/// because containers may share a temporary directory while a process id means something else in each.
/// </remarks>
internal sealed class ServerDirectory
{
    private const string Prefix = "etcd-testing";
    private static readonly ConcurrentDictionary<string, bool> Swept = new();

    private ServerDirectory(string path) => Path = path;

    public string Path { get; }

    public static ServerDirectory Create(string? root)
    {
        root = System.IO.Path.GetFullPath(root ?? System.IO.Path.GetTempPath());
        Directory.CreateDirectory(root);
        if (Swept.TryAdd(root, true)) RemoveStale(root);

        var self = Environment.ProcessId;
        var name = string.Create(CultureInfo.InvariantCulture,
            $"{Prefix}-{ProcessNamespace()}-{self}-{StartTime(self) ?? 0}-{Guid.NewGuid():N}");
        var path = System.IO.Path.Combine(root, name);
        if (OperatingSystem.IsWindows())
            Directory.CreateDirectory(path);
        else
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        return new ServerDirectory(path);
    }

    public void Delete() => TryDelete(Path);

    internal static void RemoveStale(string root)
    {
        if (!OperatingSystem.IsLinux()) return;
        foreach (var directory in Directory.EnumerateDirectories(root, Prefix + "-*"))
            if (IsStale(System.IO.Path.GetFileName(directory)))
                TryDelete(directory);
    }

    private static bool IsStale(string name)
    {
        var parts = name[Prefix.Length..].Split('-', StringSplitOptions.RemoveEmptyEntries);
        return parts.Length == 4
            && parts[0] == ProcessNamespace()
            && int.TryParse(parts[1], CultureInfo.InvariantCulture, out var owner)
            && long.TryParse(parts[2], CultureInfo.InvariantCulture, out var started)
            && StartTime(owner) != started;
    }

    /// <summary>When a process started, in ticks since boot; null when there is no such process, or only a zombie.</summary>
    private static long? StartTime(int process)
    {
        try
        {
            // "pid (name) state ppid ...": the name may hold spaces and parentheses, so fields are counted after its end.
            var stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{process}/stat"));
            var fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : long.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static string ProcessNamespace()
    {
        var target = OperatingSystem.IsLinux() ? new FileInfo("/proc/self/ns/pid").LinkTarget : null;
        return target is null ? "0" : string.Concat(target.Where(char.IsAsciiDigit));
    }

    private static void TryDelete(string path)
    {
        try
        {
            Directory.Delete(path, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Somebody else's, or being removed by another process: nothing that should fail a test.
        }
    }
}
