using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// Asks what comes next, from whoever knows, and tells a handler: one notification after another, on the scheduler of whoever
/// subscribed.
/// </summary>
/// <remarks>
/// Invariant: the handler is told revisions in strictly rising order within one etcd, each change with the revision that it was told last,
/// or the whole state. What it failed on is told again as a whole.
/// </remarks>
internal sealed partial class ConfigSubscription : IAsyncDisposable
{
    // More than a call waits in its silo; then it is asked anew.
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(4);
    private static readonly TimeSpan AnswerDelay = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan HastyAnswer = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(50);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(2);

    private readonly string _name;
    private readonly Func<ConfigQuery, CancellationToken, Task<ConfigPage>> _next;
    private readonly Func<ConfigNotification, Task> _handler;
    private readonly ConfigScope _scope;
    private readonly ILogger? _logger;
    private readonly TaskScheduler _scheduler;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _first = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task _loop;
    private readonly AsyncLocal<bool> _isHandler = new();
    private int _disposed;

    private ConfigSubscription(string name, Func<ConfigQuery, CancellationToken, Task<ConfigPage>> next, Func<ConfigNotification, Task> handler, ConfigScope scope, ILogger? logger)
    {
        (_name, _next, _handler, _scope, _logger) = (name, next, handler, scope, logger?.Guarded());
        _scheduler = TaskScheduler.Current;
        _loop = Detached.Run(RunAsync);
    }

    /// <summary>Subscribes; returns when the handler has been told the first state.</summary>
    /// <exception cref="Exception">What the first question failed with, where that does not pass.</exception>
    public static async Task<IAsyncDisposable> StartAsync(
        string name,
        Func<ConfigQuery, CancellationToken, Task<ConfigPage>> next,
        Func<ConfigNotification, Task> handler,
        ConfigScope? scope,
        ILogger? logger,
        CancellationToken cancellationToken)
    {
        ArgumentNullException.ThrowIfNull(handler);
        cancellationToken.ThrowIfCancellationRequested();
        var subscription = new ConfigSubscription(name, next, handler, scope ?? new ConfigScope(), logger);
        try
        {
            await subscription._first.Task.WaitAsync(cancellationToken).ConfigureAwait(false);
            return subscription;
        }
        catch
        {
            // Not waited for: the handler may be one that hangs.
            _ = subscription._stop.CancelAsync();
            throw;
        }
    }

    /// <summary>As a grain answers it: a call that hangs with its silo is given up.</summary>
    public static async Task<ConfigPage> AskAsync(IConfigFeedGrain grain, ConfigQuery query, CancellationToken cancellationToken) =>
        await Detached.Observed(grain.Next(query)).WaitAsync(query.Wait + AnswerDelay, cancellationToken).ConfigureAwait(false);

    /// <summary>The handler is called no more, but for the call that is under way, which is waited for unless it is the one that disposes.</summary>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
            await _stop.CancelAsync().ConfigureAwait(false);
        if (!_isHandler.Value)
            await _loop.ConfigureAwait(false);
    }

    private async Task RunAsync()
    {
        EtcdMeter.ConfigObservers.Add(1);
        var (after, told) = (default(ConfigCursor), 0L);
        var pause = FirstPause;
        while (!_stop.IsCancellationRequested)
        {
            try
            {
                var asked = TimeProvider.System.GetTimestamp();
                var page = await _next(new ConfigQuery(after, _scope, Wait), _stop.Token).ConfigureAwait(false);
                foreach (var notification in page.Notifications)
                {
                    await HandleAsync(notification with { PreviousRevision = told }).ConfigureAwait(false);
                    told = notification.Revision;
                    after = page.Next with { Revision = told };
                }

                after = page.Next;
                pause = FirstPause;
                // A silo that is about to stop lets nobody wait.
                if (page.Notifications.IsEmpty && TimeProvider.System.GetElapsedTime(asked) < HastyAnswer)
                    await Task.Delay(HastyAnswer, _stop.Token).ConfigureAwait(false);
            }
            catch (Exception) when (_stop.IsCancellationRequested)
            {
                break;
            }
            catch (HandlerException exception)
            {
                // What it made of it nobody knows: it begins again with all there is.
                after = after with { Stream = Guid.Empty, Revision = told };
                Log.Failed(_logger, exception.InnerException!, _name);
                await PauseAsync().ConfigureAwait(false);
            }
            catch (ObjectDisposedException exception)
            {
                // The silo has stopped, or the client was disposed.
                _first.TrySetException(exception);
                break;
            }
            catch (Exception exception)
            {
                if (!Passing.Is(exception) && _first.TrySetException(exception))
                    break;
                Log.NotAsked(_logger, exception, _name);
                await PauseAsync().ConfigureAwait(false);
            }
        }

        _first.TrySetCanceled();
        EtcdMeter.ConfigObservers.Add(-1);

        async Task PauseAsync()
        {
            await Task.Delay(Backoff.Jittered(pause), _stop.Token).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            pause = Backoff.Longer(pause, LongestPause);
        }
    }

    /// <summary>Runs the handler where its owner runs: a grain's in the grain's own turns.</summary>
    private async Task HandleAsync(ConfigNotification notification)
    {
        try
        {
            await Task.Factory.StartNew(RunHandlerAsync, _stop.Token, TaskCreationOptions.DenyChildAttach, _scheduler).Unwrap().ConfigureAwait(false);
        }
        catch (Exception exception) when (!_stop.IsCancellationRequested)
        {
            throw new HandlerException(exception);
        }

        EtcdMeter.ConfigNotifications.Add(1);
        _first.TrySetResult();

        async Task RunHandlerAsync()
        {
            _isHandler.Value = true;
            await _handler(notification).ConfigureAwait(true);
        }
    }

    private sealed class HandlerException(Exception inner) : Exception("The handler failed.", inner);

    private static partial class Log
    {
        public static void Failed(ILogger? logger, Exception exception, string @namespace)
        {
            if (logger is not null)
                HandlerFailed(logger, exception, @namespace);
        }

        public static void NotAsked(ILogger? logger, Exception exception, string @namespace)
        {
            if (logger is not null)
                Unanswered(logger, exception, @namespace);
        }

        [LoggerMessage(125, LogLevel.Error, "Config {Namespace}: the handler of a subscription failed; it is told the whole state again")]
        private static partial void HandlerFailed(ILogger logger, Exception exception, string @namespace);

        [LoggerMessage(126, LogLevel.Debug, "Config {Namespace}: a subscription got no answer; it asks again")]
        private static partial void Unanswered(ILogger logger, Exception exception, string @namespace);
    }
}
