using System.Collections.Immutable;
using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// A namespace as this process sees it: its latest state, and the last steps that led there. Fed by one watch. Thread safe.
/// </summary>
/// <remarks>
/// <para>Invariant: whoever asks with the cursor of the last answer is told every step since then once and in order, or the
/// whole state where the steps are not known any more. Nobody waits for another who asks.</para>
/// <para>Survives what the watch survives: everything. While etcd is away the last known state is what there is.</para>
/// </remarks>
internal sealed class ConfigFeed : IAsyncDisposable
{
    // For those who come back: what is older is told as a whole.
    private const int MostSteps = 4096;
    private const long MostBytes = 16 * 1024 * 1024;

    // One answer is not to be a large message.
    private const int MostInPage = 256;
    private const long MostBytesInPage = 1024 * 1024;

    // That a view lags is rare, and not for long.
    private static readonly TimeSpan Lag = TimeSpan.FromMilliseconds(500);

    private readonly EtcdConnection _etcd;
    private readonly ConfigLayout _layout;
    private readonly ILogger _logger;
    private readonly RangeWatch _watch;
    private readonly Task _loop;
    private readonly object _lock = new();
    // Of what etcd was before it was restored: whoever comes from there knows what never was.
    private readonly HashSet<Guid> _endedStreams = [];
    private long _bytes;
    private Known? _known;
    private Confirmed? _confirmed;
    private Answered? _answered;
    private TaskCompletionSource _changed = NewChanged();
    private bool _ended;

    public ConfigFeed(EtcdConnection etcd, ConfigLayout layout, ILogger logger)
    {
        (_etcd, _layout, _logger) = (etcd, layout, logger);
        _watch = new RangeWatch(etcd, layout.Prefix, Pulse);
        _loop = Detached.Run(RunAsync);
    }

    public ConfigLayout Layout => _layout;

    /// <summary>The latest state; null until it has been read for the first time.</summary>
    public ConfigState? State => Volatile.Read(ref _known)?.State;

    /// <summary>Why it is not up to date at the moment; null while it is.</summary>
    public Exception? LastError => _watch.LastError;

    /// <summary>The state, once it has been read.</summary>
    /// <exception cref="EtcdException">etcd refuses it, which waiting does not change.</exception>
    public Task<ConfigState> FirstAsync(CancellationToken cancellationToken) => LookAsync(static known => known.State, cancellationToken);

    /// <summary>The state, once it is another than this.</summary>
    public Task<ConfigState> OtherThanAsync(ConfigState? seen, CancellationToken cancellationToken) => LookAsync(known => known.State != seen ? known.State : null, cancellationToken);

    /// <summary>Waits until the view shows all that etcd had at a revision.</summary>
    /// <exception cref="EtcdException">etcd refuses it, or does not know the revision yet.</exception>
    public async Task ReachAsync(long revision, CancellationToken cancellationToken)
    {
        var state = await AtLeastAsync(revision, cancellationToken).ConfigureAwait(false);
        // Or nothing of the namespace was changed at that revision, nor since the last one that was.
        var shown = await LookAsync(known => known.State.Revision >= state.Revision || known.State.HasSameAs(state) ? known.State : null, cancellationToken).ConfigureAwait(false);
        Confirm(shown, state.Revision);
    }

    /// <summary>The state at a revision or later; asks etcd itself where the view does not show it soon.</summary>
    /// <exception cref="EtcdException">etcd fails, or does not know the revision yet.</exception>
    public async Task<ConfigState> AtLeastAsync(long revision, CancellationToken cancellationToken)
    {
        if (State is { } at && at.Revision >= revision)
            return at;
        if (Volatile.Read(ref _confirmed) is { } confirmed && confirmed.Shown == State && confirmed.Later.Revision >= revision)
            return confirmed.Later;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        if (await FirstAsync(cancellationToken).ConfigureAwait(false) is { } first && first.Revision >= revision)
            return first;
        limit.CancelAfter(Lag);
        try
        {
            return await LookAsync(known => known.State.Revision >= revision ? known.State : null, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // The revision may be one at which another part of etcd was changed.
        }

        var response = await _etcd.RangeAsync(Txn.Range(_layout.Prefix), cancellationToken).ConfigureAwait(false);
        if (response.Header.Revision < revision)
            throw new EtcdException(EtcdErrorCode.InvalidRequest, "Range", $"etcd is at revision {response.Header.Revision} and knows nothing of revision {revision} yet.", outcomeUnknown: false);
        var read = ConfigState.Apply(null, new RangeState().Replace(response)!, _layout, _logger).After;
        if (State is { } now && now.HasSameAs(read))
            Confirm(now, read.Revision);
        return read;
    }

    /// <summary>What comes after something, once there is anything; an empty answer when the wait is over.</summary>
    /// <exception cref="EtcdException">It could not be read yet, and etcd refuses it.</exception>
    public async Task<ConfigPage> NextAsync(ConfigQuery query, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(query.Wait);
        var after = query.After;
        try
        {
            if (await WasRestoredAsync(after, limit.Token).ConfigureAwait(false))
                after = default;
            return await LookAsync(
                known =>
                {
                    var page = Page(known, query, after);
                    // What does not concern the one who asks moves its cursor on.
                    after = page.Next;
                    return page.Notifications.IsEmpty ? null : page;
                },
                limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return new ConfigPage([], after);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _watch.DisposeAsync().ConfigureAwait(false);
        await _loop.ConfigureAwait(false);
    }

    /// <summary>Whether somebody knows more than this view does because etcd itself knows less than it did, and not because the view is behind.</summary>
    private async Task<bool> WasRestoredAsync(ConfigCursor after, CancellationToken cancellationToken)
    {
        var state = await FirstAsync(cancellationToken).ConfigureAwait(false);
        if (after.Stream == state.Cursor.Stream || after.ClusterId != state.Cursor.ClusterId || after.Revision <= state.Revision)
            return false;
        // Once is enough for all who come from elsewhere, for as long as this view's history goes on: if etcd is restored, another begins.
        if (Volatile.Read(ref _answered) is { } answered && answered.Stream == state.Cursor.Stream && after.Revision <= answered.Revision)
            return false;
        var response = await _etcd.RangeAsync(new RangeRequest { Key = ByteString.CopyFromUtf8(_layout.Prefix), CountOnly = true }, cancellationToken).ConfigureAwait(false);
        Volatile.Write(ref _answered, new Answered(state.Cursor.Stream, response.Header.Revision));
        return response.Header.Revision < after.Revision;
    }

    private ConfigPage Page(Known known, ConfigQuery query, ConfigCursor after)
    {
        var (state, steps) = known;
        if (after.Stream != state.Cursor.Stream)
        {
            // Another view, that of another silo perhaps, which may be behind. Nobody is told what is older than what they know.
            if (after.ClusterId != state.Cursor.ClusterId || after.Revision < state.Revision || HasEnded(after.Stream))
                return Whole(state, query);
            return new ConfigPage([], after.Revision == state.Revision ? state.Cursor : after);
        }

        if (after.Revision >= state.Revision)
            return new ConfigPage([], after);
        if (steps.IsEmpty || steps[0].Before!.Revision > after.Revision)
        {
            EtcdMeter.ConfigDrops.Add(1);
            return Whole(state, query);
        }

        var told = ImmutableArray.CreateBuilder<ConfigNotification>();
        var (previous, bytes) = (after.Revision, 0L);
        for (var i = FirstAfter(steps, after.Revision); i < steps.Length && told.Count < MostInPage && bytes < MostBytesInPage; i++)
        {
            var changes = steps[i].Changes(query.Scope);
            after = steps[i].After.Cursor;
            if (changes.IsEmpty)
                continue;
            told.Add(new ConfigNotification { Namespace = _layout.Name, PreviousRevision = previous, Revision = after.Revision, Changes = changes });
            previous = after.Revision;
            bytes += changes.Sum(static change => (change.Old?.Content.Length ?? 0) + (change.New?.Content.Length ?? 0));
        }

        return new ConfigPage(told.ToImmutable(), after);
    }

    private static int FirstAfter(ImmutableArray<ConfigDelta> steps, long revision)
    {
        var (low, high) = (0, steps.Length);
        while (low < high)
        {
            var middle = (low + high) / 2;
            if (steps[middle].After.Revision <= revision)
                low = middle + 1;
            else
                high = middle;
        }

        return low;
    }

    private ConfigPage Whole(ConfigState state, ConfigQuery query) => new(
        [new ConfigNotification { Namespace = _layout.Name, PreviousRevision = query.After.Revision, Revision = state.Revision, Snapshot = state.All(query.Scope.Instance, query.Scope.KeyPrefix) }],
        state.Cursor);

    private bool HasEnded(Guid stream)
    {
        lock (_lock)
            return _endedStreams.Contains(stream);
    }

    private void Confirm(ConfigState shown, long revision)
    {
        if (revision <= shown.Revision)
            return;
        lock (_lock)
        {
            if (_confirmed is not { } before || before.Shown != shown || before.Later.Revision < revision)
                Volatile.Write(ref _confirmed, new Confirmed(shown, shown.At(revision)));
        }
    }

    /// <summary>Looks, and again whenever there is something new. Nobody looks under a lock.</summary>
    private async Task<T> LookAsync<T>(Func<Known, T?> look, CancellationToken cancellationToken)
        where T : class
    {
        while (true)
        {
            // First, so that what comes after the look is not missed.
            var changed = Volatile.Read(ref _changed).Task;
            if (Volatile.Read(ref _known) is { } known)
            {
                if (look(known) is { } found)
                    return found;
            }
            else if (LastError is EtcdException { IsTransient: false } refused)
            {
                throw new EtcdException(refused.Code, refused.Operation, refused.Message, outcomeUnknown: false, refused);
            }

            ObjectDisposedException.ThrowIf(Volatile.Read(ref _ended), this);
            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task RunAsync()
    {
        try
        {
            await foreach (var batch in _watch.Batches.ReadAllAsync().ConfigureAwait(false))
                Take(batch);
        }
        finally
        {
            Volatile.Write(ref _ended, true);
            Pulse();
        }
    }

    private void Take(RevisionBatch batch)
    {
        var (before, steps) = _known is { } known ? known : new Known(null!, []);
        var step = ConfigState.Apply(before, batch, _layout, _logger);
        var isSameStream = before is not null && before.Cursor.Stream == step.After.Cursor.Stream;
        if (isSameStream && !batch.IsResync)
        {
            _bytes += step.Size;
            var from = 0;
            while (from < steps.Length && (steps.Length - from >= MostSteps || _bytes > MostBytes))
                _bytes -= steps[from++].Size;
            steps = [.. steps.AsSpan()[from..], step];
        }
        else
        {
            // Another history of etcd's; or read anew because etcd had forgotten what came between: that is no step, and is told as a whole.
            (steps, _bytes) = ([], 0);
        }

        if (!isSameStream && before is not null)
        {
            lock (_lock)
                _endedStreams.Add(before.Cursor.Stream);
        }

        Volatile.Write(ref _known, new Known(step.After, steps));
        Pulse();
    }

    private void Pulse() => Interlocked.Exchange(ref _changed, NewChanged()).TrySetResult();

    private static TaskCompletionSource NewChanged() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>
    /// What the view shows, and that there was the same at a later revision, as etcd itself has said. Of what the view shows next that says
    /// nothing: it may be from before that revision, and may have been changed back by then.
    /// </summary>
    private sealed record Confirmed(ConfigState Shown, ConfigState Later);

    /// <summary>How far etcd was when it was asked, while this view was of that history.</summary>
    private sealed record Answered(Guid Stream, long Revision);

    /// <summary>A state, and the steps that led there.</summary>
    private sealed record Known(ConfigState State, ImmutableArray<ConfigDelta> Steps);
}
