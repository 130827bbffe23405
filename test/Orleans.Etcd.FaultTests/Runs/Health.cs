using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;

namespace Orleans.Etcd.FaultTests.Runs;

/// <summary>What a deployment holds on to between two runs. Over many of them none of it may grow.</summary>
/// <param name="TestMemory">Of this process, with its clients: bytes that are in use after a collection.</param>
/// <param name="SiloMemory">Of all silos: bytes resident.</param>
/// <param name="Threads">Of this process and the silos.</param>
/// <param name="Descriptors">Open files and sockets of this process and the silos.</param>
/// <param name="Streams">Open at the members: watches and renewals of leases.</param>
/// <param name="Watchers">At the members.</param>
/// <param name="Leases">At the servers.</param>
internal sealed partial record Health(long TestMemory, long SiloMemory, int Threads, int Descriptors, long Streams, long Watchers, int Leases)
{
    private const long MegaByte = 1 << 20;

    /// <summary>What is more than chance since an earlier one.</summary>
    /// <param name="first">That one.</param>
    /// <param name="isWarm">Whether it is from after the silos' first full collections, until which they take twice of what they begin with.</param>
    public IEnumerable<string> GrownSince(Health first, bool isWarm = false)
    {
        (string Name, double Now, double Most)[] all =
        [
            ("memory of the test process in MB", TestMemory / MegaByte, (first.TestMemory / MegaByte) + 24),
            ("memory of the silos in MB", SiloMemory / MegaByte, first.SiloMemory / MegaByte * (isWarm ? 1.4 : 2.5)),
            ("threads", Threads, first.Threads + 60),
            ("open files and sockets", Descriptors, first.Descriptors + 300),
            ("streams at the members", Streams, first.Streams + 20),
            ("watchers at the members", Watchers, first.Watchers + 20),
            ("leases", Leases, first.Leases + 10),
        ];
        return all.Where(one => one.Now > one.Most).Select(one => string.Create(CultureInfo.InvariantCulture, $"{one.Name} have grown to {one.Now:0}, with {one.Most:0} allowed"));
    }

    public static async Task<Health> OfAsync(Deployment deployment)
    {
        var memory = GC.GetTotalMemory(forceFullCollection: true);
        int[] silos = [.. deployment.Silos.Where(silo => !silo.HasExited).Select(silo => silo.Id)];
        int[] all = [Environment.ProcessId, .. silos];
        // Of the leases each member tells what it has applied, and one that lags has those still that have been revoked (seed 27241).
        var leader = await deployment.Etcd.GetLeaderAsync();
        var pages = await Task.WhenAll(deployment.Etcd.Members.Select(member => member.GetMetricsAsync()));
        return new(
            memory,
            silos.Sum(id => Process.GetProcessById(id).WorkingSet64),
            all.Sum(id => Process.GetProcessById(id).Threads.Count),
            all.Sum(id => Directory.GetFileSystemEntries(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/fd")).Length),
            pages.Sum(page => Sum(page, BegunStreams()) - Sum(page, EndedStreams())),
            pages.Sum(page => Sum(page, WatcherCount())),
            (await leader.GetLeasesAsync()).Count);
    }

    private static long Sum(string page, Regex lines) => lines.Matches(page).Sum(match => (long)double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture));

    [GeneratedRegex(@"^grpc_server_started_total\{[^}]*grpc_method=""(?:Watch|LeaseKeepAlive)""[^}]*\} (\S+)", RegexOptions.Multiline)]
    private static partial Regex BegunStreams();

    [GeneratedRegex(@"^grpc_server_handled_total\{[^}]*grpc_method=""(?:Watch|LeaseKeepAlive)""[^}]*\} (\S+)", RegexOptions.Multiline)]
    private static partial Regex EndedStreams();

    [GeneratedRegex(@"^etcd_debugging_mvcc_watcher_total (\S+)", RegexOptions.Multiline)]
    private static partial Regex WatcherCount();
}
