namespace Orleans.Etcd.Benchmarks;

/// <summary>Lets ours and the others do the same thing, round after round, and reports each comparison.</summary>
internal sealed class Contest(string benchmark, Settings settings, Report report)
{
    // Of fewer operations the 99th percentile is the slowest of them.
    private const int EnoughForP99 = 100;

    public Settings Settings => settings;

    public Report Report => report;

    /// <summary>
    /// Compares latencies, one operation in flight, after a round that does not count. Answers the medians' figures,
    /// one for each of the others in their order.
    /// </summary>
    public async Task<Figure[]> CompareAsync(string @case, int operations, Contender ours, Contender[] others, CancellationToken cancellationToken)
    {
        Contender[] all = [ours, .. others];
        var rounds = await RoundsAsync(all, operations, cancellationToken);
        var medians = new List<Figure>();
        for (var other = 1; other < all.Length; other++)
        {
            foreach (var (metric, percentile) in Percentiles(operations))
            {
                var figure = Add(
                    @case, metric, ours.Name, all[other].Name,
                    [.. rounds.Select(round => round.Milliseconds(0, percentile))],
                    [.. rounds.Select(round => round.Milliseconds(other, percentile))]);
                if (percentile == 50)
                    medians.Add(figure);
            }
        }

        return [.. medians];
    }

    private (string Metric, double Percentile)[] Percentiles(int operations) =>
        settings.Operations(operations) < EnoughForP99 ? [("p50_ms", 50)] : [("p50_ms", 50), ("p99_ms", 99)];

    /// <summary>The latencies of each, one operation in flight, in every round that counts.</summary>
    private async Task<IReadOnlyList<Round>> RoundsAsync(Contender[] contenders, int operations, CancellationToken cancellationToken)
    {
        var count = settings.Operations(operations);
        await Round.RunAsync(contenders, count, cancellationToken);
        var rounds = new List<Round>();
        for (var round = 0; round < settings.Rounds; round++)
            rounds.Add(await Round.RunAsync(contenders, count, cancellationToken));
        return rounds;
    }

    /// <summary>
    /// Compares how often a second each is done where so many do it at the same time. Answers the figures, one for each
    /// of the others in their order.
    /// </summary>
    public async Task<Figure[]> RatesAsync(string @case, Crowd ours, Crowd[] others, CancellationToken cancellationToken)
    {
        var rates = await Race.RoundsAsync([ours, .. others], settings, (crowd, _) => RaceAsync(crowd, cancellationToken));
        return [.. others.Select(other => Add(@case, "per_s", ours.Name, other.Name, rates[ours], rates[other]))];
    }

    private async Task<double> RaceAsync(Crowd crowd, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var meanwhile = crowd.MeanwhileAsync(over.Token);
        try
        {
            return (await Race.RunAsync(crowd.Runners, settings, cancellationToken)).PerSecond;
        }
        finally
        {
            await over.CancelAsync();
            await meanwhile;
        }
    }

    /// <summary>Reports something counted or measured by other means, one value a round.</summary>
    public Figure Add(string @case, string metric, string subject, string? against, IReadOnlyList<double> ours, IReadOnlyList<double> theirs) =>
        report.Add(Figure.From(benchmark, @case, metric, subject, against, ours, theirs));
}

/// <summary>Many that do the same thing at the same time.</summary>
/// <param name="Name">As it appears in the report.</param>
/// <param name="Runners">What each of them does over and over.</param>
internal sealed record Crowd(string Name, Func<Task>[] Runners)
{
    /// <summary>How many are in flight where nothing asks for another number.</summary>
    public const int Usual = 64;

    public static Crowd Of(Contender one) => new(one.Name, [.. Enumerable.Repeat(one.Operation, Usual)]);

    /// <summary>What somebody else does all the while, until it is told to end.</summary>
    public Func<CancellationToken, Task> MeanwhileAsync { get; init; } = static _ => Task.CompletedTask;
}
