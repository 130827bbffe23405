using System.Diagnostics;

namespace Orleans.Etcd.FaultTests.Network;

/// <summary>Programs of the operating system that faults are made with, from <c>.tools/faults</c> or from PATH.</summary>
internal static class FaultTools
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <summary>The path of a program or library; null where this machine has none.</summary>
    public static string? Find(string name) => Directories().Select(directory => Path.Combine(directory, name)).FirstOrDefault(File.Exists);

    /// <summary>Runs a program to its end and answers what it wrote.</summary>
    /// <exception cref="InvalidOperationException">It failed.</exception>
    public static async Task<string> RunAsync(string program, params string[] arguments)
    {
        var path = Find(program) ?? throw new InvalidOperationException($"{program} is not on this machine: build/get-fault-tools gets it.");
        using var process = Process.Start(new ProcessStartInfo(path, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        await process.WaitForExitAsync().WaitAsync(Limit);
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} failed: {await error}");
        return await output;
    }

    private static IEnumerable<string> Directories()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
            yield return Path.Combine(directory.FullName, ".tools", "faults", "bin");
        foreach (var directory in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':'))
            yield return directory;
        yield return "/usr/sbin";
        yield return "/sbin";
    }
}
