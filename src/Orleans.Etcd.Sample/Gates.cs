using System.Diagnostics;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Sample;

/// <summary>
/// The limit of the turnstiles, a plain key in etcd. Configuration belongs to the service, so that its namespace is one that no other run of this
/// sample uses.
/// </summary>
internal sealed class Gates(IClusterClient client, EtcdConnection etcd, string cluster, Action<string> show)
{
    public const string Limit = "max-passages";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    public static string Namespace(string cluster) => $"gates-{cluster}";

    /// <summary>Whether all these silos let nobody through once <c>etcdctl</c> has said so.</summary>
    public async Task<bool> CloseByHandAsync(CancellationToken cancellationToken, params string[] silos)
    {
        await PutAsync($"orleans/stadium/config/{Namespace(cluster)}/{Limit}", "0", cancellationToken);
        return await AreAsync(isOpen: false, silos, cancellationToken);
    }

    /// <summary>Whether all these silos let people through once a commit has lifted the limit, if it is still what it was.</summary>
    public async Task<bool> OpenByCommitAsync(CancellationToken cancellationToken, params string[] silos)
    {
        var config = client.GetGrain<IConfigGrain>(Namespace(cluster));
        var limit = await config.Get(Limit);
        var commit = new ConfigCommit { Edits = [ConfigEdit.Delete(Limit) with { ExpectedRevision = limit?.Revision }], Author = "the sample", Reason = "the match is over" };
        return (await config.Commit(commit)).IsCommitted && await AreAsync(isOpen: true, silos, cancellationToken);
    }

    private async Task<bool> AreAsync(bool isOpen, string[] silos, CancellationToken cancellationToken)
    {
        var missing = silos.ToHashSet();
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Patience;)
        {
            var passage = await client.GetGrain<ITurnstile>(-1 - Random.Shared.NextInt64(long.MaxValue)).Enter().WaitAsync(Patience, cancellationToken);
            if (passage.IsOpen == isOpen && missing.Remove(passage.Silo))
                show($"{passage.Silo} is {(isOpen ? "open" : "closed")} after {clock.Elapsed.TotalMilliseconds:F0} ms");
            if (missing.Count == 0)
                return true;
        }

        return false;
    }

    /// <summary>As anybody would, with <c>etcdctl</c>; where there is none, by the connection.</summary>
    private async Task PutAsync(string key, string value, CancellationToken cancellationToken)
    {
        var tool = FindTool();
        show($"etcdctl put {key} {value}{(tool is null ? " (there is no etcdctl here: by the client's own connection)" : "")}");
        if (tool is null)
        {
            await etcd.PutAsync(new() { Key = Google.Protobuf.ByteString.CopyFromUtf8(key), Value = Google.Protobuf.ByteString.CopyFromUtf8(value) }, cancellationToken);
            return;
        }

        var start = new ProcessStartInfo(tool, ["--endpoints", string.Join(',', etcd.Endpoints.Select(endpoint => endpoint.GetLeftPart(UriPartial.Authority))), "put", key, value]) { RedirectStandardOutput = true, RedirectStandardError = true };
        // It refuses an option that stands in the environment too.
        foreach (var name in start.Environment.Keys.Where(name => name.StartsWith("ETCDCTL_", StringComparison.Ordinal)).ToArray())
            start.Environment.Remove(name);
        start.Environment["ETCDCTL_API"] = "3";
        using var process = Process.Start(start)!;
        var errors = process.StandardError.ReadToEndAsync(cancellationToken);
        await process.StandardOutput.ReadToEndAsync(cancellationToken);
        await process.WaitForExitAsync(cancellationToken);
        if (process.ExitCode != 0)
            throw new InvalidOperationException($"etcdctl put failed: {(await errors).Trim()}");
    }

    private static string? FindTool()
    {
        try
        {
            var tool = Path.Combine(Path.GetDirectoryName(EtcdBinary.Find())!, "etcdctl");
            return File.Exists(tool) ? tool : null;
        }
        catch (FileNotFoundException)
        {
            return null;
        }
    }
}
