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
    private readonly Queue<ConfigDelta> _steps = new();
    private long _bytes;
    private ConfigState? _state;
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
    public ConfigState? State => Volatile.Read(ref _state);

    /// <summary>Why it is not up to date at the moment; null while it is.</summary>
    public Exception? LastError => _watch.LastError;

    /// <summary>The state, once it has been read.</summary>
    /// <exception cref="EtcdException">etcd refuses it, which waiting does not change.</exception>
    public async Task<ConfigState> FirstAsync(CancellationToken cancellationToken) => await LookAsync(static state => state, cancellationToken).ConfigureAwait(false);

    /// <summary>The state, once it is another than this.</summary>
    public Task<ConfigState> OtherThanAsync(ConfigState? seen, CancellationToken cancellationToken) => LookAsync(state => state != seen ? state : null, cancellationToken);

    /// <summary>Waits until the view shows a revision.</summary>
    /// <exception cref="EtcdException">etcd refuses it, which waiting does not change.</exception>
    public Task ReachAsync(long revision, CancellationToken cancellationToken) => LookAsync(state => state.Revision >= revision ? state : null, cancellationToken);

    /// <summary>The state at a revision or later; asks etcd itself where the view does not show it soon.</summary>
    /// <exception cref="EtcdException">etcd fails, or does not know the revision yet.</exception>
    public async Task<ConfigState> AtLeastAsync(long revision, CancellationToken cancellationToken)
    {
        var state = State ?? await FirstAsync(cancellationToken).ConfigureAwait(false);
        if (state.Revision >= revision)
            return state;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(Lag);
        try
        {
            return await LookAsync(newer => newer.Revision >= revision ? newer : null, limit.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // The revision may be one at which another part of etcd was changed.
        }

        var response = await _etcd.RangeAsync(Txn.Range(_layout.Prefix), cancellationToken).ConfigureAwait(false);
        if (response.Header.Revision < revision)
            throw new EtcdException(EtcdErrorCode.InvalidRequest, "Range", $"etcd is at revision {response.Header.Revision} and knows nothing of revision {revision} yet.", outcomeUnknown: false);
        return ConfigState.Apply(null, new RangeState().Replace(response)!, _layout, _logger).After;
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
                state =>
                {
                    var page = Page(state, query, after);
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
        var response = await _etcd.RangeAsync(new RangeRequest { Key = ByteString.CopyFromUtf8(_layout.Prefix), CountOnly = true }, cancellationToken).ConfigureAwait(false);
        return response.Header.Revision < after.Revision;
    }

    /// <summary>Under the lock.</summary>
    private ConfigPage Page(ConfigState state, ConfigQuery query, ConfigCursor after)
    {
        if (after.Stream != state.Cursor.Stream)
        {
            // Another view, that of another silo perhaps, which may be behind. Nobody is told what is older than what they know.
            if (after.ClusterId != state.Cursor.ClusterId || after.Revision < state.Revision)
                return Whole(state, query);
            return new ConfigPage([], after.Revision == state.Revision ? state.Cursor : after);
        }

        if (after.Revision >= state.Revision)
            return new ConfigPage([], after);
        if (!_steps.TryPeek(out var oldest) || oldest.Before!.Revision > after.Revision)
        {
            EtcdMeter.ConfigDrops.Add(1);
            return Whole(state, query);
        }

        var told = ImmutableArray.CreateBuilder<ConfigNotification>();
        var (previous, bytes) = (after.Revision, 0L);
        foreach (var step in _steps)
        {
            if (step.After.Revision <= after.Revision)
                continue;
            var changes = step.Changes(query.Scope);
            after = step.After.Cursor;
            if (changes.IsEmpty)
                continue;
            told.Add(new ConfigNotification { Namespace = _layout.Name, PreviousRevision = previous, Revision = after.Revision, Changes = changes });
            previous = after.Revision;
            bytes += step.Size;
            if (told.Count >= MostInPage || bytes >= MostBytesInPage)
                break;
        }

        return new ConfigPage(told.ToImmutable(), after);
    }

    private ConfigPage Whole(ConfigState state, ConfigQuery query) => new(
        [new ConfigNotification { Namespace = _layout.Name, PreviousRevision = query.After.Revision, Revision = state.Revision, Snapshot = state.All(query.Scope.Instance, query.Scope.KeyPrefix) }],
        state.Cursor);

    private async Task<T> LookAsync<T>(Func<ConfigState, T?> look, CancellationToken cancellationToken)
        where T : class
    {
        while (true)
        {
            Task changed;
            lock (_lock)
            {
                if (_state is not null && look(_state) is { } found)
                    return found;
                if (_state is null && LastError is EtcdException { IsTransient: false } refused)
                    throw new EtcdException(refused.Code, refused.Operation, refused.Message, outcomeUnknown: false, refused);
                ObjectDisposedException.ThrowIf(_ended, this);
                changed = _changed.Task;
            }

            await changed.WaitAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task RunAsync()
    {
        await foreach (var batch in _watch.Batches.ReadAllAsync().ConfigureAwait(false))
            Take(batch);
        lock (_lock)
            _ended = true;
        Pulse();
    }

    private void Take(RevisionBatch batch)
    {
        var step = ConfigState.Apply(_state, batch, _layout, _logger);
        lock (_lock)
        {
            var follows = _state?.Cursor.Stream == step.After.Cursor.Stream;
            if (!follows)
            {
                _steps.Clear();
                _bytes = 0;
            }
            else
            {
                _steps.Enqueue(step);
                _bytes += step.Size;
            }

            while (_steps.Count > MostSteps || (_bytes > MostBytes && _steps.Count > 0))
                _bytes -= _steps.Dequeue().Size;
            Volatile.Write(ref _state, step.After);
        }

        Pulse();
    }

    private void Pulse()
    {
        TaskCompletionSource changed;
        lock (_lock)
            (changed, _changed) = (_changed, NewChanged());
        changed.TrySetResult();
    }

    private static TaskCompletionSource NewChanged() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
