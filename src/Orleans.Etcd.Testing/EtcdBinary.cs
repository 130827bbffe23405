using System.Collections.Concurrent;
using System.Diagnostics;

namespace Orleans.Etcd.Testing;

/// <summary>Finds the etcd binary on this machine. Thread safe.</summary>
public static class EtcdBinary
{
    private const string Variable = "ETCD_BIN";
    private static readonly TimeSpan VersionTimeout = TimeSpan.FromSeconds(10);
    private static readonly ConcurrentDictionary<(string Path, DateTime Written), string> Versions = new();

    /// <summary>
    /// Finds etcd. Without a version: the environment variable <c>ETCD_BIN</c> (the binary, or a directory that holds it),
    /// then <c>PATH</c>, then the newest under <c>.tools/etcd/</c> in the current directory, the application's directory or
    /// any of their parents. With a version: <c>.tools/etcd/{version}/</c> first, then <c>ETCD_BIN</c> and <c>PATH</c>, if
    /// the binary there is of that version.
    /// </summary>
    /// <param name="version">A version such as <c>3.5</c> or <c>3.5.16</c>; null for any.</param>
    /// <returns>The full path of the binary.</returns>
    /// <exception cref="FileNotFoundException">There is none; the message says how to get it.</exception>
    public static string Find(string? version = null)
    {
        if (version is not null)
            ArgumentException.ThrowIfNullOrWhiteSpace(version);
        var found = version is null
            ? FromVariable() ?? FromPath() ?? FromTools(null)
            : FromTools(version) ?? Matching(FromVariable(), version) ?? Matching(FromPath(), version);
        return found ?? throw Missing(version is null ? "etcd was not found" : $"etcd {version} was not found");
    }

    /// <summary>The version a binary reports about itself, for example <c>3.5.16</c>.</summary>
    /// <exception cref="EtcdServerException">The file does not answer as etcd does.</exception>
    internal static string VersionOf(string path) =>
        Versions.GetOrAdd((path, File.GetLastWriteTimeUtc(path)), static key => AskVersion(key.Path));

    internal static FileNotFoundException Missing(string what) => new(
        $"{what}: install the distribution's etcd-server package, or run build/get-etcd, or set {Variable} to the etcd "
        + "binary or to the directory that holds it.", "etcd");

    private static string? FromVariable()
    {
        var value = Environment.GetEnvironmentVariable(Variable);
        if (string.IsNullOrWhiteSpace(value)) return null;
        if (Directory.Exists(value)) value = Path.Combine(value, "etcd");
        return File.Exists(value) ? Path.GetFullPath(value) : throw Missing($"{Variable} points to '{value}', which does not exist");
    }

    private static string? FromPath() =>
        (Environment.GetEnvironmentVariable("PATH") ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Select(directory => Path.Combine(directory, "etcd"))
            .Where(File.Exists)
            .Select(Path.GetFullPath)
            .FirstOrDefault();

    private static string? FromTools(string? version)
    {
        var candidates = ToolDirectories()
            .SelectMany(directory => Directory.EnumerateDirectories(directory))
            .Select(directory => (Name: Path.GetFileName(directory), File: Path.Combine(directory, "etcd")))
            .Where(candidate => File.Exists(candidate.File))
            .OrderByDescending(candidate => Version.TryParse(candidate.Name, out var parsed) ? parsed : new Version(0, 0))
            .ToList();
        if (version is null)
            return candidates.FirstOrDefault().File;
        // Only where no name says it are the binaries themselves asked: one of another version may not even run.
        return candidates.FirstOrDefault(candidate => candidate.Name == version).File
            ?? candidates.FirstOrDefault(candidate => IsVersion(candidate.File, version)).File;
    }

    private static IEnumerable<string> ToolDirectories()
    {
        foreach (var start in new[] { Directory.GetCurrentDirectory(), AppContext.BaseDirectory })
            for (var directory = new DirectoryInfo(start); directory is not null; directory = directory.Parent)
            {
                var tools = Path.Combine(directory.FullName, ".tools", "etcd");
                if (Directory.Exists(tools)) yield return tools;
            }
    }

    private static string? Matching(string? path, string version) => path is not null && IsVersion(path, version) ? path : null;

    private static bool IsVersion(string path, string version)
    {
        var actual = VersionOf(path);
        return actual == version || actual.StartsWith(version + ".", StringComparison.Ordinal);
    }

    private static string AskVersion(string path)
    {
        var start = new ProcessStartInfo(path, ["--version"])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        EtcdCommand.ClearEnvironment(start);
        string output;
        try
        {
            using var process = Process.Start(start)!;
            var errors = process.StandardError.ReadToEndAsync();
            var reading = process.StandardOutput.ReadToEndAsync();
            if (!process.WaitForExit(VersionTimeout))
            {
                process.Kill();
                throw new EtcdServerException($"'{path} --version' did not end within {VersionTimeout.TotalSeconds:0} s.");
            }

            output = reading.GetAwaiter().GetResult() + errors.GetAwaiter().GetResult();
        }
        catch (System.ComponentModel.Win32Exception exception)
        {
            throw new EtcdServerException($"'{path}' cannot be run: {exception.Message}", exception);
        }

        const string prefix = "etcd Version:";
        var line = output.Split('\n').FirstOrDefault(line => line.StartsWith(prefix, StringComparison.Ordinal));
        return line is null
            ? throw new EtcdServerException($"'{path} --version' did not answer as etcd does, but: {output.Trim()}")
            : line[prefix.Length..].Trim();
    }
}
