using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Those who are told of a namespace by calling them. Each has a loop of its own, so that nobody waits for another.</summary>
internal sealed partial class ConfigObservers(ConfigFeed feed, ILogger logger, CancellationToken stopping) : IAsyncDisposable
{
    // After which one that is not subscribed anew is told nothing any more.
    private static readonly TimeSpan ToldFor = TimeSpan.FromMinutes(1);
    private static readonly TimeSpan Wait = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan LongestPause = TimeSpan.FromSeconds(5);

    private readonly Dictionary<IConfigObserver, Told> _all = [];

    public void Add(IConfigObserver observer, ConfigScope scope)
    {
        lock (_all)
        {
            if (_all.TryGetValue(observer, out var known) && known.Scope == scope && known.Renew(ToldFor))
                return;
            known?.Stop();
            var told = new Told(scope, CancellationTokenSource.CreateLinkedTokenSource(stopping));
            told.Renew(ToldFor);
            _all[observer] = told;
            told.Loop = Detached.Run(() => TellAsync(observer, told));
        }
    }

    public void Remove(IConfigObserver observer)
    {
        lock (_all)
        {
            if (_all.Remove(observer, out var told))
                told.Stop();
        }
    }

    public async ValueTask DisposeAsync()
    {
        Told[] all;
        lock (_all)
        {
            all = [.. _all.Values];
            _all.Clear();
        }

        foreach (var told in all)
            told.Stop();
        await Task.WhenAll(all.Select(told => told.Loop)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
    }

    private async Task TellAsync(IConfigObserver observer, Told told)
    {
        EtcdMeter.ConfigObservers.Add(1);
        var previous = 0L;
        var after = default(ConfigCursor);
        try
        {
            while (true)
            {
                ConfigPage page;
                try
                {
                    page = await feed.NextAsync(new ConfigQuery(after, told.Scope, Wait), told.Stopped).ConfigureAwait(false);
                }
                catch (EtcdException exception) when (exception.IsTransient)
                {
                    await Task.Delay(FirstPause, told.Stopped).ConfigureAwait(false);
                    continue;
                }

                foreach (var notification in page.Notifications)
                {
                    await TellAsync(observer, notification with { PreviousRevision = previous }, told.Stopped).ConfigureAwait(false);
                    EtcdMeter.ConfigLag.Record((feed.State?.Revision ?? 0) - notification.Revision);
                    previous = notification.Revision;
                }

                after = page.Next;
            }
        }
        catch (Exception exception) when (told.Stopped.IsCancellationRequested || exception is ObjectDisposedException)
        {
            if (told.HasExpired && !stopping.IsCancellationRequested)
                Log.Expired(logger, feed.Layout.Name, ToldFor);
        }
        catch (EtcdException exception)
        {
            Log.NotRead(logger, exception, feed.Layout.Name);
        }
        finally
        {
            EtcdMeter.ConfigObservers.Add(-1);
            lock (_all)
            {
                if (_all.GetValueOrDefault(observer) == told)
                    _all.Remove(observer);
            }

            told.Dispose();
        }
    }

    /// <summary>Tells it, until it has heard.</summary>
    private async Task TellAsync(IConfigObserver observer, ConfigNotification notification, CancellationToken stopped)
    {
        for (var pause = FirstPause; ; pause = Backoff.Longer(pause, LongestPause))
        {
            stopped.ThrowIfCancellationRequested();
            try
            {
                // As long as it takes, up to Orleans' response timeout: sent again meanwhile it would only queue behind itself.
                await Detached.Observed(observer.OnConfig(notification)).WaitAsync(stopped).ConfigureAwait(false);
                EtcdMeter.ConfigNotifications.Add(1);
                return;
            }
            catch (Exception exception) when (!stopped.IsCancellationRequested)
            {
                Log.NotTold(logger, exception, feed.Layout.Name);
            }

            await Task.Delay(pause, stopped).ConfigureAwait(false);
        }
    }

    private sealed class Told(ConfigScope scope, CancellationTokenSource stop) : IDisposable
    {
        private int _disposed;
        private long _until;

        public ConfigScope Scope => scope;

        public CancellationToken Stopped { get; } = stop.Token;

        public Task Loop { get; set; } = Task.CompletedTask;

        public bool HasExpired => Environment.TickCount64 >= Interlocked.Read(ref _until);

        /// <summary>False where it has ended.</summary>
        public bool Renew(TimeSpan time)
        {
            if (Stopped.IsCancellationRequested)
                return false;
            Interlocked.Exchange(ref _until, Environment.TickCount64 + (long)time.TotalMilliseconds - 1000);
            try
            {
                stop.CancelAfter(time);
                return true;
            }
            catch (ObjectDisposedException)
            {
                return false;
            }
        }

        public void Stop()
        {
            Interlocked.Exchange(ref _until, long.MaxValue);
            try
            {
                stop.Cancel();
            }
            catch (ObjectDisposedException)
            {
                // Its loop has ended by itself.
            }
        }

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _disposed, 1) == 0)
                stop.Dispose();
        }
    }

    private static partial class Log
    {
        [LoggerMessage(122, LogLevel.Information, "Config {Namespace}: an observer has not subscribed anew for {Time} and is told nothing any more")]
        public static partial void Expired(ILogger logger, string @namespace, TimeSpan time);

        [LoggerMessage(123, LogLevel.Debug, "Config {Namespace}: an observer could not be told; it is tried again")]
        public static partial void NotTold(ILogger logger, Exception exception, string @namespace);

        [LoggerMessage(124, LogLevel.Warning, "Config {Namespace}: etcd refuses to have it read")]
        public static partial void NotRead(ILogger logger, Exception exception, string @namespace);
    }
}
