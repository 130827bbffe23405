using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>The namespaces that a silo watches, each once: for its grains and for what is injected. Thread safe.</summary>
internal sealed class ConfigFeeds(EtcdConnection etcd, string root, string history, int historyLimit, ILoggerFactory loggers) : IAsyncDisposable, IDisposable
{
    private readonly Dictionary<string, (ConfigFeed Feed, int Users)> _open = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _stopping = new();
    private readonly ILogger _logger = loggers.CreateGuarded<ConfigFeed>();
    private bool _disposed;

    /// <summary>Cancelled when no call is to wait for anything any more.</summary>
    public CancellationToken Stopping => _stopping.Token;

    /// <summary>The namespace's feed, to be given back.</summary>
    /// <exception cref="ArgumentException">It is no name of a namespace.</exception>
    public ConfigFeed Open(string name)
    {
        lock (_open)
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            var (feed, users) = _open.GetValueOrDefault(name);
            feed ??= new ConfigFeed(etcd, new ConfigLayout(root, history, name), _logger);
            _open[name] = (feed, users + 1);
            return feed;
        }
    }

    public ConfigWriter Writer(ConfigFeed feed) => new(etcd, feed.Layout, historyLimit);

    public async Task CloseAsync(ConfigFeed feed)
    {
        lock (_open)
        {
            if (!_open.TryGetValue(feed.Layout.Name, out var open) || open.Feed != feed)
                return;
            if (open.Users > 1)
            {
                _open[feed.Layout.Name] = (feed, open.Users - 1);
                return;
            }

            _open.Remove(feed.Layout.Name);
        }

        await feed.DisposeAsync().ConfigureAwait(false);
    }

    /// <summary>Ends all waits as the silo begins to stop: Orleans deactivates no grain while a call is in it.</summary>
    public void EndWaits() => _stopping.Cancel();

    /// <summary>Does not wait for the watches to end.</summary>
    public void Dispose() => Detached.Start(() => DisposeAsync().AsTask());

    public async ValueTask DisposeAsync()
    {
        EndWaits();
        ConfigFeed[] open;
        lock (_open)
        {
            _disposed = true;
            open = [.. _open.Values.Select(one => one.Feed)];
            _open.Clear();
        }

        await Task.WhenAll(open.Select(feed => feed.DisposeAsync().AsTask())).ConfigureAwait(false);
    }
}
