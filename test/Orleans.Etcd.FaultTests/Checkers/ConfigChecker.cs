using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>A commit, a rollback or a read of a namespace.</summary>
internal sealed record ConfigOperation(int Process, string Action) : Step(Process, Action)
{
    /// <summary>What a commit sets, null for a deletion; what a read answered.</summary>
    public ImmutableSortedDictionary<string, string?> Values { get; init; } = ImmutableSortedDictionary<string, string?>.Empty;

    /// <summary>The key whose revision is expected, and that revision.</summary>
    public KeyValuePair<string, long> Expected { get; init; }

    /// <summary>What a read has to show at least.</summary>
    public long AtLeast { get; init; }

    /// <summary>What a rollback goes back to.</summary>
    public long To { get; init; }

    /// <summary>What was answered.</summary>
    public long Revision { get; init; }

    public bool Conflicted { get; init; }

    /// <summary>Through which client it was asked.</summary>
    public int Client { get; init; }

    /// <summary>Of a rollback: up to where etcd may have forgotten its history when this was answered.</summary>
    public long Compacted { get; init; }

    public bool IsRead => Action is "read" or "read back" or "subscribe";

    public override string Capability => CapabilityOf(Action, Client);

    public static string CapabilityOf(string action, int client) => $"{action} of client {client}";

    public override bool Succeeded => base.Succeeded && !Conflicted;
}

/// <summary>Whether what was committed to and read from a namespace is what etcd did.</summary>
/// <remarks>
/// Every answer names a revision and every value is written once, so etcd's own log says which order there was: it is compared
/// with, where otherwise one would have to be searched for. What came to an unknown end is found in the log, or not.
/// </remarks>
internal static class ConfigChecker
{
    // By how much the recorder may hear later of what was done than whoever was in its way.
    private static readonly TimeSpan Hearing = TimeSpan.FromSeconds(2);

    // How long before a commit what it expects may have been read.
    private static readonly TimeSpan Reading = TimeSpan.FromSeconds(30);

    /// <param name="log">What etcd did.</param>
    /// <param name="operations">What was asked and answered.</param>
    /// <param name="compacted">Up to where etcd has forgotten its history in the end.</param>
    /// <param name="oldest">How old a view may be at a moment; null where that is not judged.</param>
    /// <param name="recorded">The values that the records of earlier commits held in the beginning.</param>
    public static IEnumerable<string> Check(LogPart log, IReadOnlyList<ConfigOperation> operations, long compacted = 0, Func<long, TimeSpan?>? oldest = null, IReadOnlyCollection<string>? recorded = null)
    {
        var answered = operations.Where(operation => operation.Outcome == Outcome.Ok && !operation.Conflicted).ToArray();
        return [.. Commits(log, answered), .. Unanswered(log, operations), .. NotDone(log, operations), .. Conflicts(log, operations), .. Reads(log, answered), .. Back(answered), .. Old(log, answered, oldest ?? (static _ => null)), .. Rollbacks(log, answered), .. RealTime(answered), .. Twice(log, operations, compacted, recorded ?? [])];
    }

    private static IEnumerable<string> Commits(LogPart log, ConfigOperation[] answered)
    {
        var revisions = log.Revisions.ToDictionary(revision => revision.Number);
        var written = Written(log);
        foreach (var commit in answered.Where(operation => operation.Action == "commit"))
        {
            var actual = revisions.GetValueOrDefault(commit.Revision)?.Changes ?? ImmutableSortedDictionary<string, string?>.Empty;
            if (!Does(log, commit, commit.Revision, actual))
                yield return $"{Text(commit)} is not what {commit.Revision} did: {string.Join(' ', actual)}";
            if (commit.Expected.Key is not { } key)
                continue;
            // What is not there is at 0, and of what has not been written since the log began it is not known where it is.
            var isThere = log.StateAt(commit.Revision - 1).ContainsKey(key);
            var last = isThere ? written[key].Where(revision => revision < commit.Revision).DefaultIfEmpty().Max() : 0;
            if (isThere && last == 0 ? commit.Expected.Value > log.InitialRevision || commit.Expected.Value == 0 : last != commit.Expected.Value)
                yield return $"{Text(commit)} expected {key} at {commit.Expected.Value}, and it was at {last}";
        }
    }

    /// <summary>What came to an unknown end was done as a whole or not at all.</summary>
    private static IEnumerable<string> Unanswered(LogPart log, IReadOnlyList<ConfigOperation> operations)
    {
        var first = new Dictionary<string, Revision>();
        foreach (var revision in log.Revisions)
        {
            foreach (var value in revision.Changes.Values.OfType<string>())
                first.TryAdd(value, revision);
        }

        return from commit in operations
               where commit is { Action: "commit", Outcome: Outcome.Unknown }
               let any = commit.Values.Values.OfType<string>().Select(first.GetValueOrDefault).FirstOrDefault(revision => revision is not null)
               where any is not null && !Does(log, commit, any.Number, any.Changes)
               select $"{Text(commit)} was not answered, and {any.Number} did a part of it: {string.Join(' ', any.Changes)}";
    }

    /// <summary>Whether a revision is all that was to be committed, and nothing else. A deletion of what is not there is no change.</summary>
    private static bool Does(LogPart log, ConfigOperation commit, long revision, ImmutableSortedDictionary<string, string?> changes)
    {
        var before = log.StateAt(revision - 1);
        return commit.Values.Where(pair => pair.Value is not null || before.ContainsKey(pair.Key)).SequenceEqual(changes);
    }

    private static IEnumerable<string> Reads(LogPart log, ConfigOperation[] answered) =>
        from read in answered
        where read.IsRead
        // What was there when the log began was there since before it.
        let there = log.StateAt(Math.Max(read.Revision, log.InitialRevision))
        where there.Count != read.Values.Count || !there.All(pair => read.Values.TryGetValue(pair.Key, out var value) && value == pair.Value)
        select $"{Text(read)} is not what was there";

    /// <summary>Who asks for what was committed is shown that, or something later, wherever it is answered.</summary>
    private static IEnumerable<string> Back(ConfigOperation[] answered) =>
        answered.Where(read => read.IsRead && read.Revision < read.AtLeast).Select(read => $"{Text(read)}, and was to show {read.AtLeast}");

    /// <summary>From a moment on, once all is calm or with no more than one member away, no view is older than it may be.</summary>
    private static IEnumerable<string> Old(LogPart log, ConfigOperation[] answered, Func<long, TimeSpan?> oldest) =>
        from read in answered
        where read.IsRead
        let age = oldest(read.Invoked)
        where age is not null
        let known = log.Revisions.TakeWhile(revision => revision.Heard < read.Invoked - age.Value.Micros()).LastOrDefault()
        where known is not null && read.Revision < known.Number
        select $"{Text(read)}, though {known.Number} had been written long before";

    /// <summary>What was said not to be done is not done.</summary>
    private static IEnumerable<string> NotDone(LogPart log, IReadOnlyList<ConfigOperation> operations)
    {
        var written = log.AllWritten();
        return from commit in operations
               where commit.Action == "commit" && (commit.Conflicted || commit.Outcome == Outcome.Fail)
               where commit.Values.Values.OfType<string>().Any(written.Contains)
               select $"{Text(commit)} was said not to be made, and was";
    }

    /// <summary>Only who expects a revision is told of a conflict, and only where the key has, or had, another one.</summary>
    private static IEnumerable<string> Conflicts(LogPart log, IReadOnlyList<ConfigOperation> operations)
    {
        foreach (var refused in operations.Where(operation => operation.Conflicted))
        {
            if (refused.Expected.Key is not { } key)
            {
                yield return $"{Text(refused)} was refused, and expected nothing";
                continue;
            }

            var changes = log.Revisions.Where(revision => revision.Changes.ContainsKey(key) && revision.Heard <= refused.Ended + Hearing.Micros());
            // It was there when that revision was read, so that only a later change can have been in its way. What was not there may have come and gone since.
            if (refused.Expected.Value > 0 ? !changes.Any(revision => revision.Number > refused.Expected.Value) : !changes.Any(revision => revision.Heard >= refused.Invoked - Reading.Micros()) && !log.Initial.ContainsKey(key))
                yield return $"{Text(refused)} was refused, and {key} was at {refused.Expected.Value}, as was expected";
        }
    }

    private static IEnumerable<string> Rollbacks(LogPart log, ConfigOperation[] answered)
    {
        var own = answered.Where(operation => !operation.IsRead).Select(operation => operation.Revision).ToHashSet();
        foreach (var rollback in answered.Where(operation => operation.Action == "rollback" && operation.To >= log.InitialRevision))
        {
            var (wanted, got) = (log.StateAt(rollback.To), log.StateAt(rollback.Revision));
            // Where etcd has forgotten, what others wrote since is not seen by it.
            var foreign = log.Revisions.Where(revision => rollback.To <= rollback.Compacted && revision.Number > rollback.To && revision.Number < rollback.Revision && !own.Contains(revision.Number))
                .SelectMany(revision => revision.Changes.Keys).ToHashSet();
            // And what others wrote before is not in the history of commits that it is taken from then.
            if (rollback.To <= rollback.Compacted)
                foreign.UnionWith(LastWriters(log, rollback.To).Where(last => !own.Contains(last.Value)).Select(last => last.Key));
            foreach (var key in wanted.Keys.Union(got.Keys).Where(key => !foreign.Contains(key) && wanted.GetValueOrDefault(key) != got.GetValueOrDefault(key)))
                yield return $"{Text(rollback)} left {key} at {got.GetValueOrDefault(key)}, where {rollback.To} had {wanted.GetValueOrDefault(key)}";
        }
    }

    /// <summary>Which revision last wrote each key, up to one; 0 where that was before the log.</summary>
    private static Dictionary<string, long> LastWriters(LogPart log, long until)
    {
        var last = log.Initial.Keys.ToDictionary(key => key, _ => 0L);
        foreach (var revision in log.Revisions.TakeWhile(revision => revision.Number <= until))
        {
            foreach (var key in revision.Changes.Keys)
                last[key] = revision.Number;
        }

        return last;
    }

    /// <summary>What was asked after another's answer has the higher revision.</summary>
    private static IEnumerable<string> RealTime(ConfigOperation[] answered)
    {
        var writes = answered.Where(operation => !operation.IsRead).ToArray();
        var ended = new Queue<ConfigOperation>(writes.OrderBy(write => write.Ended));
        ConfigOperation? highest = null;
        foreach (var write in writes.OrderBy(write => write.Invoked))
        {
            while (ended.TryPeek(out var before) && before.Ended < write.Invoked)
            {
                ended.Dequeue();
                highest = highest is null || before.Revision > highest.Revision ? before : highest;
            }

            // A rollback to what is there already writes nothing, and answers where it looked.
            if (highest is not null && write.Revision < highest.Revision)
                yield return $"{Text(write)} was asked after {Text(highest)} had been answered";
        }
    }

    /// <summary>Each value is its commit's own, so one that was written twice was committed twice, unless it was gone back to.</summary>
    private static IEnumerable<string> Twice(LogPart log, IReadOnlyList<ConfigOperation> operations, long compacted, IReadOnlyCollection<string> recorded)
    {
        // A rollback may take more than one commit, where others delete meanwhile.
        var back = operations.Where(operation => operation.Action == "rollback").Select(rollback => (Rollback: rollback, Values: Values(rollback))).ToArray();
        return log.Revisions.SelectMany(revision => revision.Changes.Values.OfType<string>().Where(value => !back.Any(of => of.Values.Contains(value) && MayBeOf(of.Rollback, revision))))
            .GroupBy(value => value).Where(group => group.Count() > 1)
            .Select(group => $"{group.Key} was written {group.Count()} times");

        // Where etcd has forgotten, what comes back is what was last committed, though others may have written over it by then.
        HashSet<string> Values(ConfigOperation rollback) => rollback.To > (rollback.Outcome == Outcome.Unknown ? compacted : rollback.Compacted)
            ? [.. log.StateAt(rollback.To).Values]
            : [.. recorded, .. log.Initial.Values, .. log.Revisions.TakeWhile(revision => revision.Number <= rollback.To).SelectMany(revision => revision.Changes.Values.OfType<string>())];

        static bool MayBeOf(ConfigOperation rollback, Revision revision) =>
            revision.Heard >= rollback.Invoked && (revision.Number <= rollback.Revision || rollback.Outcome == Outcome.Unknown);
    }

    private static ILookup<string, long> Written(LogPart log) => log.Revisions.SelectMany(revision => revision.Changes.Keys.Select(key => (key, revision.Number))).ToLookup(pair => pair.key, pair => pair.Number);

    private static string Text(ConfigOperation operation) => $"the {operation.Action} of process {operation.Process} answered {operation.Revision} ({string.Join(' ', operation.Values)})";
}
