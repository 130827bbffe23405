using System.Collections.Concurrent;
using System.Globalization;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.Tests;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>The set in a key of etcd, written as its users would: behind the library's own fence, which etcd itself keeps.</summary>
/// <param name="etcd">The connection.</param>
/// <param name="fence">Of which lock.</param>
/// <param name="key">Where the set is.</param>
/// <param name="history">Where each time that the lock was held is noted.</param>
/// <param name="calls">Where each call to etcd is noted, which is seen to end in time, be it waited for or not.</param>
internal sealed class EtcdLedger(EtcdConnection etcd, string fence, string key, History? history = null, History? calls = null) : LockLedger(history: history)
{
    private readonly ConcurrentQueue<long> _accepted = [];
    private long _raised;
    private int _stale;

    /// <summary>Writes of earlier holders that were asked for after a later one had raised the fence, and answered.</summary>
    public int Stale => Volatile.Read(ref _stale);

    /// <summary>The tokens of those that were said to be made.</summary>
    public IReadOnlyCollection<long> Accepted => _accepted;

    /// <summary>Raises the fence first, so that what is read here no earlier holder can change: one tries to.</summary>
    public override async Task<int[]?> Read(long token)
    {
        if (!await SeenAsync("raise the fence", () => FencedWrite.TxnAsync(etcd, fence, token, [])))
        {
            NoteRefused();
            return null;
        }

        var earlier = Interlocked.Exchange(ref _raised, token);
        var elements = ElementsAsync();
        if (earlier > 0 && earlier < token)
            await WriteLateAsync(earlier);
        return await elements;
    }

    public override async Task<bool> Write(long token, int[] elements)
    {
        var written = await SeenAsync("fenced write", () => FencedWrite.PutAsync(etcd, fence, token, key, Connections.Bytes(string.Join(',', elements)).Memory));
        if (!written)
            NoteRefused();
        return written;
    }

    /// <summary>Of two writes that were applied the later has a token that is not lower, and what is protected changes only together with its fence.</summary>
    /// <param name="fences">The fence.</param>
    /// <param name="sets">What it protects.</param>
    public static IEnumerable<string> Check(LogPart fences, LogPart sets)
    {
        var fenced = fences.Revisions.Select(revision => revision.Number).ToHashSet();
        foreach (var revision in sets.Revisions.Where(revision => !fenced.Contains(revision.Number)))
            yield return $"{revision.Number} wrote {string.Join(' ', revision.Changes.Values)} without its fence";
        var highest = fences.Initial.Values.Select(Token).DefaultIfEmpty(0).Max();
        foreach (var revision in fences.Revisions)
        {
            foreach (var value in revision.Changes.Values)
            {
                var token = value is null ? 0 : Token(value);
                if (token < highest)
                    yield return $"a write of token {token} was applied at {revision.Number}, after one of {highest}";
                highest = Math.Max(highest, token);
            }
        }
    }

    protected override async Task<int[]> ElementsAsync() =>
        (await SeenAsync("read", () => etcd.GetAsync(key)))?.Value.ToStringUtf8() is { Length: > 0 } elements ? [.. elements.Split(',').Select(element => int.Parse(element, CultureInfo.InvariantCulture))] : [];

    /// <summary>As one would who was frozen all the while.</summary>
    private async Task WriteLateAsync(long token)
    {
        try
        {
            if (await SeenAsync("late write", () => FencedWrite.PutAsync(etcd, fence, token, key, Connections.Bytes("-1").Memory)))
                _accepted.Enqueue(token);
            Interlocked.Increment(ref _stale);
        }
        catch (EtcdException)
        {
            // Not answered; etcd's own history tells whether it was made.
        }
    }

    private async Task<T> SeenAsync<T>(string action, Func<Task<T>> call)
    {
        var running = call();
        if (calls is not null)
        {
            var step = new Step(calls.NewProcess(), action);
            await calls.RunAsync(step, Workload.CallLimit, async _ =>
            {
                await running;
                return step;
            });
        }

        return await running;
    }

    private static long Token(string value) => long.Parse(value, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
}
