using System.Diagnostics;
using System.Text.RegularExpressions;

namespace Orleans.Etcd.Benchmarks;

/// <summary>What a program says of itself.</summary>
internal static partial class ToolOutput
{
    /// <summary>The first thing that looks like a version in what it prints for <c>--version</c>.</summary>
    public static async Task<string> VersionAsync(string program, CancellationToken cancellationToken)
    {
        using var process = Process.Start(new ProcessStartInfo(program, ["--version"]) { RedirectStandardOutput = true })!;
        var text = await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        return Version().Match(text) is { Success: true } found ? found.Value : "?";
    }

    [GeneratedRegex(@"\d+(\.\d+)+")]
    private static partial Regex Version();
}
