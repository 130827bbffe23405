using Etcdserverpb;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Heartbeat, insert and update, each against the same request. Tokens are looked up between the writes, for both
/// sides alike, and are not timed.
/// </summary>
internal sealed class MembershipWrites(Contest contest, BareEtcd bare, EtcdConnection etcd)
{
    private const double Limit = 1.25;
    private const int Rows = 10;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var ours = new EtcdTable(bare, etcd, "writes-ours");
        var theirs = new EtcdTable(bare, etcd, "writes-bare");
        await ours.FillAsync(Rows, cancellationToken);
        await theirs.FillAsync(Rows, cancellationToken);
        await using var table = ours.Open();
        await table.InitializeMembershipTableAsync(true, cancellationToken);

        await HeartbeatAsync(table, theirs, cancellationToken);
        await WriteAsync("insert", 200, table, ours, theirs, NewSilo(), NewSilo(), cancellationToken);
        await WriteAsync("update", 200, table, ours, theirs, KnownSilo(), KnownSilo(), cancellationToken);
    }

    private static Func<MembershipEntry> NewSilo()
    {
        var next = Rows;
        return () => Silos.Entry(next++);
    }

    private static Func<MembershipEntry> KnownSilo()
    {
        var next = 0;
        return () => Silos.Entry(next % Rows, writes: 1 + next++);
    }

    private async Task HeartbeatAsync(EtcdMembershipTable table, EtcdTable theirs, CancellationToken cancellationToken)
    {
        var entry = Silos.Entry(0);
        var put = new PutRequest { Key = theirs.Layout.AliveKey(entry.SiloAddress), Value = MembershipCodec.Encode(entry.IAmAliveTime) };
        var figures = await contest.CompareAsync(
            "heartbeat",
            300,
            new Contender("UpdateIAmAlive", () => table.UpdateIAmAliveAsync(entry, CancellationToken.None)),
            [new Contender("bare put", async () => await bare.KV.PutAsync(put))],
            cancellationToken);
        contest.Report.RatioGoal("heartbeat against a bare put", figures[0], Limit);
    }

    private async Task WriteAsync(
        string @case, int operations, EtcdMembershipTable table, EtcdTable ours, EtcdTable theirs,
        Func<MembershipEntry> nextOfOurs, Func<MembershipEntry> nextOfTheirs, CancellationToken cancellationToken)
    {
        MembershipEntry entry = null!;
        EtcdTable.Tokens tokens = null!;
        TxnRequest request = null!;
        var library = new Contender(@case == "insert" ? "InsertRow" : "UpdateRow", async () =>
        {
            var written = @case == "insert"
                ? await table.InsertRowAsync(entry, tokens.Next, CancellationToken.None)
                : await table.UpdateRowAsync(entry, MembershipImage.ETag(tokens.Row), tokens.Next, CancellationToken.None);
            Check(@case, written);
        })
        {
            Prepare = async () =>
            {
                entry = nextOfOurs();
                tokens = await ours.TokensAsync(entry.SiloAddress, cancellationToken);
            },
        };
        var plain = new Contender("bare transaction", async () => Check(@case, (await bare.KV.TxnAsync(request)).Succeeded))
        {
            Prepare = async () =>
            {
                var silo = nextOfTheirs();
                request = theirs.WriteRequest(silo, await theirs.TokensAsync(silo.SiloAddress, cancellationToken));
            },
        };
        var figures = await contest.CompareAsync(@case, operations, library, [plain], cancellationToken);
        contest.Report.RatioGoal($"{@case} against a bare transaction", figures[0], Limit);
    }

    private static void Check(string @case, bool written)
    {
        if (!written)
            throw new InvalidOperationException($"The {@case} was refused: its tokens should have been the latest.");
    }
}
