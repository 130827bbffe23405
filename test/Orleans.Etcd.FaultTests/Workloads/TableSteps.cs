using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Tests.Clustering;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>What a user of a membership table does: reads it, and writes on what it has read.</summary>
internal static class TableSteps
{
    /// <summary>Does it once, and answers whether all came to a known end.</summary>
    public static async Task<bool> ReadAndWriteAsync(History history, EtcdMembershipTable table, int instance, int process, int silo, string text, SiloStatus status, bool readsRow, TimeSpan timeout)
    {
        if (readsRow)
        {
            var begun = new TableStep(process, "read row") { Instance = instance, Silo = silo };
            var row = await history.RunAsync(begun, timeout, async token => begun with { Seen = TableState.Of(await table.ReadRowAsync(Silos.Address(silo), token)) });
            if (row.Outcome != Outcome.Ok)
                return false;
        }

        MembershipTableData? all = null;
        var asked = new TableStep(process, "read all") { Instance = instance };
        var read = await history.RunAsync(asked, timeout, async token =>
        {
            all = await table.ReadAllAsync(token);
            return asked with { Seen = TableState.Of(all) };
        });
        if (read.Outcome != Outcome.Ok || all is null)
            return false;
        var known = all.Members.SingleOrDefault(member => member.Item1.SiloAddress.Equals(Silos.Address(silo)));
        var entry = Silos.Entry(silo, status);
        entry.SiloName = text;
        // Some of the others, or none.
        entry.SuspectTimes = [.. Enumerable.Range(silo + 1, text.Length % 3).Select(other => Tuple.Create(Silos.Address(other), DateTime.UnixEpoch.AddSeconds(text.Length + other)))];
        var write = new TableStep(process, "write") { Instance = instance, Silo = silo, BaseVersion = all.Version.Version, Over = known is null ? null : TableState.Row(known.Item1), Written = TableState.Row(entry) };
        var wrote = await history.RunAsync(write, timeout, async token => write with
        {
            Won = known is null ? await table.InsertRowAsync(entry, all.Version.Next(), token) : await table.UpdateRowAsync(entry, known.Item2, all.Version.Next(), token),
        });
        return wrote.Outcome == Outcome.Ok;
    }
}
