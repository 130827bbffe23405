using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Concurrency;

namespace Orleans.Etcd;

/// <summary>
/// Answers for a namespace by its <see cref="ConfigFeed"/>, which does everything. Reentrant, so that those who wait for
/// news keep nobody waiting; kept alive, since what it has for those who come back is lost with it.
/// </summary>
[Reentrant, KeepAlive]
internal sealed partial class ConfigGrain(IServiceProvider services, ILogger<ConfigGrain> logger) : Grain, IConfigGrain, IConfigFeedGrain
{
    // No call waits longer, so that Orleans' own timeout never ends one.
    private static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(10);

    // Shorter than what Orleans takes for a slow call, and says so.
    private static readonly TimeSpan NewsLimit = TimeSpan.FromSeconds(4);

    private ConfigFeed? _feed;
    private ConfigWriter? _writer;
    private ConfigObservers? _observers;

    // Found and opened by the first call and not by the activation, whose exceptions reach the caller in another shape.
    private ConfigFeeds Feeds => services.GetService<ConfigFeeds>() ?? throw new InvalidOperationException("This silo does not serve configuration: call AddEtcdConfig() on every silo.");

    private ConfigFeed Feed => _feed ??= Feeds.Open(this.GetPrimaryKeyString());

    private ConfigWriter Writer => _writer ??= Feeds.Writer(Feed);

    private ConfigObservers Observers => _observers ??= new ConfigObservers(Feed, logger.Guarded(), Feeds.Stopping);

    public Task<ConfigValue?> Get(string key, ConfigRead? read = null)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        // As good as always.
        if (Feed.State is { } state && state.Revision >= (read?.MinRevision ?? 0))
            return Task.FromResult(state.Find(key, read?.Instance));
        return FindAsync();

        async Task<ConfigValue?> FindAsync() => (await StateAsync(read).ConfigureAwait(true)).Find(key, read?.Instance);
    }

    public async Task<ConfigSnapshot> GetAll(ConfigRead? read = null)
    {
        var state = await StateAsync(read).ConfigureAwait(true);
        return new ConfigSnapshot(Feed.Layout.Name, state.Revision, state.All(read?.Instance));
    }

    public Task<ConfigCommitResult> Commit(ConfigCommit commit) => WriteAsync("config commit", () => Writer.CommitAsync(commit));

    public Task<ImmutableArray<ConfigHistoryEntry>> History(int limit = 20, long before = long.MaxValue) => Writer.HistoryAsync(limit, before);

    public Task<ConfigCommitResult> Rollback(long revision, string? author = null, string? reason = null) =>
        WriteAsync("config rollback", () => Writer.RollbackAsync(revision, author, reason));

    public Task Subscribe(IConfigObserver observer, ConfigScope? scope = null)
    {
        ArgumentNullException.ThrowIfNull(observer);
        Observers.Add(observer, scope ?? new ConfigScope());
        return Task.CompletedTask;
    }

    public Task Unsubscribe(IConfigObserver observer)
    {
        ArgumentNullException.ThrowIfNull(observer);
        Observers.Remove(observer);
        return Task.CompletedTask;
    }

    public async Task<ConfigPage> Next(ConfigQuery query)
    {
        try
        {
            return await Feed.NextAsync(query with { Wait = query.Wait < NewsLimit ? query.Wait : NewsLimit }, Feeds.Stopping).ConfigureAwait(true);
        }
        catch (Exception exception) when (exception is ObjectDisposedException || (exception is OperationCanceledException && Feeds.Stopping.IsCancellationRequested))
        {
            // Another silo is asked next; and what is disposed here is not to be taken for what is disposed there.
            return new ConfigPage([], query.After);
        }
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        if (_observers is not null)
            await _observers.DisposeAsync().ConfigureAwait(true);
        if (_feed is not null)
            await Feeds.CloseAsync(_feed).ConfigureAwait(true);
    }

    /// <summary>In a span, and with a log line; neither tells what was written.</summary>
    private async Task<ConfigCommitResult> WriteAsync(string operation, Func<Task<ConfigCommitResult>> write)
    {
        using var span = EtcdActivity.Start(operation, this.GetPrimaryKeyString());
        try
        {
            var result = await write().ConfigureAwait(true);
            span?.SetTag("orleans.etcd.config.revision", result.Revision).SetTag("orleans.etcd.config.conflict", result.Conflict?.Key);
            if (result.IsCommitted)
                Log.Committed(logger, this.GetPrimaryKeyString(), result.Revision);
            else
                Log.Conflicted(logger, this.GetPrimaryKeyString(), result.Conflict!.Key, result.Conflict.ExpectedRevision);
            return result;
        }
        catch (Exception exception)
        {
            span?.SetStatus(ActivityStatusCode.Error, exception.GetType().Name);
            throw;
        }
    }

    private async Task<ConfigState> StateAsync(ConfigRead? read)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(Feeds.Stopping);
        limit.CancelAfter(CallLimit);
        try
        {
            return await Feed.AtLeastAsync(read?.MinRevision ?? 0, limit.Token).ConfigureAwait(true);
        }
        catch (OperationCanceledException)
        {
            var reason = Feeds.Stopping.IsCancellationRequested ? "the silo is stopping" : Feed.LastError?.Message ?? "no answer";
            throw new EtcdException(EtcdErrorCode.Unavailable, "Range", $"Namespace '{Feed.Layout.Name}' could not be read from etcd yet: {reason}", outcomeUnknown: false);
        }
    }

    private static partial class Log
    {
        [LoggerMessage(127, LogLevel.Information, "Config {Namespace} was changed at revision {Revision}")]
        public static partial void Committed(ILogger logger, string @namespace, long revision);

        [LoggerMessage(128, LogLevel.Information, "Config {Namespace} was not changed: {Key} is not at revision {Expected} as expected")]
        public static partial void Conflicted(ILogger logger, string @namespace, string key, long expected);
    }
}
