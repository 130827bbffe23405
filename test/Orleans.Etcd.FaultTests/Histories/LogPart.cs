using System.Collections.Immutable;

namespace Orleans.Etcd.FaultTests.Histories;

/// <summary>One revision of a range: what it changed, and when it was first heard of. A null value is a deletion.</summary>
internal sealed record Revision(long Number, long Heard, ImmutableSortedDictionary<string, string?> Changes);

/// <summary>What a range held at a revision, and every revision after it.</summary>
internal sealed record LogPart(long InitialRevision, ImmutableSortedDictionary<string, string> Initial, IReadOnlyList<Revision> Revisions)
{
    /// <summary>What the range held at a revision.</summary>
    public ImmutableSortedDictionary<string, string> StateAt(long revision)
    {
        var state = Initial.ToBuilder();
        foreach (var step in Revisions.TakeWhile(step => step.Number <= revision))
            Apply(state, step.Changes);
        return state.ToImmutable();
    }

    /// <summary>Which writes were acknowledged at a revision that did not make them.</summary>
    public IEnumerable<string> Unwritten(IEnumerable<(long Revision, string[] Values)> acknowledged)
    {
        var written = Revisions.ToDictionary(revision => revision.Number, revision => revision.Changes.Values.OfType<string>().ToHashSet());
        return acknowledged.Where(write => write.Values.Length > 0 && written.GetValueOrDefault(write.Revision)?.IsSupersetOf(write.Values) is not true)
            .Select(write => $"a write of {string.Join(' ', write.Values)} was said to be {write.Revision}, and is not");
    }

    /// <summary>Every value that was written.</summary>
    public HashSet<string> AllWritten() => [.. Revisions.SelectMany(revision => revision.Changes.Values.OfType<string>())];

    /// <summary>Which writes were made that were said surely not to be.</summary>
    public IEnumerable<string> Written(IEnumerable<string[]> denied)
    {
        var written = AllWritten();
        return denied.Where(write => write.Any(written.Contains)).Select(write => $"a write of {string.Join(' ', write)} was said not to be made, and was");
    }

    public static void Apply(IDictionary<string, string> state, IEnumerable<KeyValuePair<string, string?>> changes)
    {
        foreach (var (key, value) in changes)
        {
            if (value is null)
                state.Remove(key);
            else
                state[key] = value;
        }
    }

    public static bool Same(IReadOnlyDictionary<string, string> one, IReadOnlyDictionary<string, string> other) =>
        one.Count == other.Count && one.All(pair => other.TryGetValue(pair.Key, out var value) && value == pair.Value);
}
