namespace Orleans.Etcd.Benchmarks;

/// <summary>How many requests each operation costs, as etcd itself counts them on /metrics, one operation a round.</summary>
internal sealed class MembershipRequests(Contest contest, BareEtcd bare, EtcdConnection etcd)
{
    private const int Rows = 100;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var cluster = new EtcdTable(bare, etcd, "requests");
        await cluster.FillAsync(Rows, cancellationToken);
        await using var table = await cluster.OpenWatchedAsync(cancellationToken);
        await using var unwatched = cluster.Open();
        await using var resting = await cluster.OpenWatchedAsync(cancellationToken, heartbeatAge: TimeSpan.Zero);
        await resting.ReadAllAsync(cancellationToken);
        await using var list = cluster.OpenGateways();
        // The watches open their streams now, so that none is opened while an operation is counted.
        await list.GetGatewaysAsync(cancellationToken);
        await table.ReadAllAsync(cancellationToken);

        var number = Rows;
        MembershipEntry entry = null!;
        EtcdTable.Tokens tokens = null!;
        async Task TokensAsync(int next)
        {
            entry = Silos.Entry(next);
            tokens = await cluster.TokensAsync(entry.SiloAddress, cancellationToken);
        }

        await RequireAsync("heartbeat", "UpdateIAmAlive", "Put", null, () => table.UpdateIAmAliveAsync(Silos.Entry(0), cancellationToken), cancellationToken);
        await RequireAsync("insert", "InsertRow", "Txn", () => TokensAsync(number++), async () => Require.That(await table.InsertRowAsync(entry, tokens.Next, cancellationToken), "insert"), cancellationToken);
        await RequireAsync("update", "UpdateRow", "Txn", () => TokensAsync(0), async () => Require.That(await table.UpdateRowAsync(entry, MembershipImage.ETag(tokens.Row), tokens.Next, cancellationToken), "update"), cancellationToken);
        await RequireAsync("ReadAll, changed", "ReadAll", "Txn", () => cluster.RewriteAsync(cancellationToken), () => unwatched.ReadAllAsync(cancellationToken), cancellationToken);
        await RequireAsync("ReadAll, unchanged", "ReadAll", "Txn", null, () => unwatched.ReadAllAsync(cancellationToken), cancellationToken);
        // Two where the watch lags behind by more than it is worth waiting for, which is no matter of ours alone.
        await CountAsync("ReadAll, changed, watched", "ReadAll", () => cluster.RewriteAsync(cancellationToken), () => table.ReadAllAsync(cancellationToken), cancellationToken);
        await RequireAsync("ReadAll, unchanged, heartbeats anew", "ReadAll", "Txn", null, () => resting.ReadAllAsync(cancellationToken), cancellationToken);
        await RequireAsync("GetGateways", "GetGateways", null, null, () => list.GetGatewaysAsync(cancellationToken), cancellationToken);
    }

    /// <summary>Counts, and says whether each cost one request of that method, or none.</summary>
    private async Task RequireAsync(string @case, string subject, string? method, Func<Task>? prepare, Func<Task> operation, CancellationToken cancellationToken)
    {
        var found = await CountAsync(@case, subject, prepare, operation, cancellationToken);
        var wanted = method is null ? "none" : $"1 {method}";
        contest.Report.CountGoal($"requests of {@case}: {wanted}", found.SetEquals([wanted]), string.Join("; ", found));
    }

    private async Task<SortedSet<string>> CountAsync(string @case, string subject, Func<Task>? prepare, Func<Task> operation, CancellationToken cancellationToken)
    {
        var counts = new List<double>();
        var found = new SortedSet<string>(StringComparer.Ordinal);
        for (var round = 0; round < contest.Settings.Rounds; round++)
        {
            await (prepare?.Invoke() ?? Task.CompletedTask);
            var sent = await bare.CountRequestsOfAsync(operation, cancellationToken);
            counts.Add(sent.Sum(pair => pair.Count));
            found.Add(sent.Count == 0 ? "none" : string.Join(" + ", sent.Select(pair => $"{pair.Count} {pair.Method}")));
        }

        contest.Add(@case, "requests", subject, null, counts, []);
        return found;
    }
}
