using System.Collections.Immutable;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Checkers;

/// <summary>Whether what an observer was told is what happened: no revision lost, doubled, reordered or torn.</summary>
internal static class ObserverChecker
{
    /// <param name="log">What happened.</param>
    /// <param name="told">What the observer was told, in its order.</param>
    /// <param name="until">The revision up to which it must have been told all.</param>
    /// <param name="mayReadAnew">Whether there was a reason for a snapshot in place of revisions; for none where it is null.</param>
    public static IEnumerable<string> Check(LogPart log, IReadOnlyList<ConfigStep> told, long until = long.MaxValue, Func<ConfigStep, bool>? mayReadAnew = null)
    {
        if (told.Count == 0)
        {
            yield return "it was told nothing";
            yield break;
        }

        if (!told[0].IsSnapshot)
            yield return $"it was told {told[0].Revision} first, which is no snapshot";
        foreach (var step in told.Skip(1).Where(step => step.IsSnapshot && mayReadAnew?.Invoke(step) is not true))
            yield return $"a snapshot at {step.Revision} after {step.Previous} came without any reason";
        var state = log.Initial;
        var next = 0;
        var last = told[0].Previous;
        foreach (var step in told)
        {
            if (step.Previous != last)
                yield return $"{step.Revision} says that it follows {step.Previous}, and {last} was the last";
            if (step.Revision <= last)
                yield return $"{step.Revision} came after {last}";
            last = step.Revision;
            if (!step.IsSnapshot)
            {
                if (next == log.Revisions.Count || log.Revisions[next].Number != step.Revision)
                {
                    yield return $"{step.Revision} came where {(next == log.Revisions.Count ? "nothing" : log.Revisions[next].Number)} was next";
                    yield break;
                }

                if (!Same(log.Revisions[next].Changes, step.Changes))
                    yield return $"{step.Revision} changed {Text(log.Revisions[next].Changes)}, and {Text(step.Changes)} was told";
            }

            while (next < log.Revisions.Count && log.Revisions[next].Number <= step.Revision)
                state = Applied(state, log.Revisions[next++].Changes);
            if (step.IsSnapshot && !Same(state.ToDictionary(pair => pair.Key, pair => (string?)pair.Value), step.Changes))
                yield return $"the snapshot at {step.Revision} is {Text(step.Changes)}, and {Text(state.Select(pair => KeyValuePair.Create(pair.Key, (string?)pair.Value)))} was there";
        }

        if (next < log.Revisions.Count && log.Revisions[next].Number <= until)
            yield return $"it was not told {log.Revisions.Count - next} revisions, from {log.Revisions[next].Number} on; its last was {last}";
    }

    private static ImmutableSortedDictionary<string, string> Applied(ImmutableSortedDictionary<string, string> state, IEnumerable<KeyValuePair<string, string?>> changes)
    {
        var builder = state.ToBuilder();
        LogPart.Apply(builder, changes);
        return builder.ToImmutable();
    }

    private static bool Same(IReadOnlyDictionary<string, string?> one, IReadOnlyDictionary<string, string?> other) =>
        one.Count == other.Count && one.All(pair => other.TryGetValue(pair.Key, out var value) && value == pair.Value);

    private static string Text(IEnumerable<KeyValuePair<string, string?>> changes) => string.Join(' ', changes.Select(change => $"{change.Key}={change.Value ?? "(deleted)"}"));
}
