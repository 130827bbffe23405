using System.Collections.Immutable;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// Configuration that follows etcd: first what is there, or what was last known; then every change, gathered for a moment and
/// reloaded only where it makes a difference.
/// </summary>
/// <remarks>
/// Survives an etcd that is away for however long: the last data stays. Nobody but the one who reads its own data out of step with
/// a reload sees a mixture: the data is replaced as a whole.
/// </remarks>
internal sealed partial class EtcdConfigurationProvider : ConfigurationProvider, IDisposable
{
    // A host that does not like its configuration has ended by then.
    private static readonly TimeSpan TrustedAfter = TimeSpan.FromSeconds(30);

    private readonly EtcdConfigurationOptions _options;
    private readonly ConfigInstance _instance;
    private readonly LastKnownGood? _file;
    private readonly ILogger _logger;
    private readonly CancellationTokenSource _stop = new();
    private readonly object _lock = new();
    private EtcdConnection? _etcd;
    private ConfigFeed[] _feeds = [];
    private bool _isKept = true;

    public EtcdConfigurationProvider(EtcdConfigurationOptions options)
    {
        _options = options;
        _instance = new ConfigInstance(options.InstanceName) { Labels = options.Labels.ToImmutableDictionary() };
        _logger = (options.LoggerFactory ?? NullLoggerFactory.Instance).CreateGuarded<EtcdConfigurationProvider>();
        _file = options.LastKnownGoodFile is { } path ? new LastKnownGood(path, _logger) : null;
    }

    /// <summary>Starts; when it was started before, there is nothing to do that is not done all the time.</summary>
    public override void Load()
    {
        lock (_lock)
        {
            if (_etcd is not null || _stop.IsCancellationRequested)
                return;
            _etcd = new EtcdConnection(_options.Etcd, _options.LoggerFactory);
            _feeds = [.. _options.Layers.Select(layer => new ConfigFeed(_etcd, ConfigLayout.At(layer.Prefix), _logger))];
        }

        // There is no other way: whoever builds a configuration wants it at once.
        var states = Task.Run(FirstAsync).GetAwaiter().GetResult();
        Detached.Start(() => FollowAsync(states));
    }

    public void Dispose()
    {
        lock (_lock)
        {
            if (_stop.IsCancellationRequested)
                return;
            _stop.Cancel();
        }

        Detached.Start(CloseAsync);
    }

    /// <summary>The first states, or null where it starts without etcd.</summary>
    private async Task<ConfigState[]?> FirstAsync()
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        limit.CancelAfter(_options.StartupTimeout);
        Exception failure;
        try
        {
            var states = await Task.WhenAll(_feeds.Select(feed => feed.FirstAsync(limit.Token))).ConfigureAwait(false);
            Data = Build(states);
            // What was good is not overwritten by what nobody has made options of yet.
            _isKept = _file is null || _file.Read() is null;
            if (_isKept)
                _file?.Write(Data);
            return states;
        }
        catch (Exception exception)
        {
            failure = exception is OperationCanceledException ? _feeds.Select(feed => feed.LastError).FirstOrDefault(error => error is not null) ?? exception : exception;
        }

        if (_file?.Read() is var (known, at))
        {
            Data = known;
            Log.Stale(_logger, failure, at);
            return null;
        }

        if (_options.Optional)
        {
            Log.Nothing(_logger, failure);
            return null;
        }

        Dispose();
        throw new InvalidOperationException($"Configuration could not be read from etcd at {_etcd!.Description} within {_options.StartupTimeout}: {failure.Message}", failure);
    }

    private async Task FollowAsync(ConfigState[]? seen)
    {
        try
        {
            if (seen is null)
            {
                seen = await ReadAtLastAsync().ConfigureAwait(false);
                Try(() =>
                {
                    Log.Live(_logger);
                    Take(seen);
                });
            }

            var trusted = Task.Delay(TrustedAfter, _stop.Token);
            while (!_stop.IsCancellationRequested)
            {
                using var either = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
                List<Task> news = [.. _feeds.Select((feed, i) => Detached.Observed(feed.OtherThanAsync(seen[i], either.Token)))];
                if (!_isKept)
                    news.Add(trusted);
                var first = await Task.WhenAny(news).ConfigureAwait(false);
                await either.CancelAsync().ConfigureAwait(false);
                if (first == trusted)
                {
                    _isKept = true;
                    Try(() => _file?.Write(Data));
                    continue;
                }

                await Task.Delay(_options.ReloadDelay, _stop.Token).ConfigureAwait(false);
                var now = seen = [.. _feeds.Select(feed => feed.State!)];
                Try(() => Take(now));
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException)
        {
            // It is disposed.
        }
    }

    /// <summary>A logger or a file that fails ends nothing.</summary>
    private void Try(Action action)
    {
        try
        {
            action();
        }
        catch (Exception exception)
        {
            Log.NotReloaded(_logger, exception);
        }
    }

    /// <summary>Waits for an etcd that refuses or is away, for however long.</summary>
    private async Task<ConfigState[]> ReadAtLastAsync()
    {
        while (true)
        {
            try
            {
                return await Task.WhenAll(_feeds.Select(feed => feed.FirstAsync(_stop.Token))).ConfigureAwait(false);
            }
            catch (EtcdException)
            {
                await Task.Delay(_options.Etcd.RequestTimeout, _stop.Token).ConfigureAwait(false);
            }
        }
    }

    /// <summary>
    /// Takes over what is different. Where options made of it are refused, by their binding or their validation, all stays as it was
    /// before, until the next change: an application is not to go on with what it says it cannot go on with.
    /// </summary>
    private void Take(ConfigState[] states)
    {
        var data = Build(states);
        if (data.Count == Data.Count && data.All(pair => Data.TryGetValue(pair.Key, out var value) && value == pair.Value))
            return;
        var before = Data;
        Data = data;
        if (!Reload(out var failure) && IsRefusal(failure!))
        {
            Log.Refused(_logger, Kinds(failure!));
            Data = before;
            _ = Reload(out _);
            return;
        }

        EtcdMeter.ConfigReloads.Add(1);
        _isKept = true;
        _file?.Write(data);
        if (failure is not null)
            Log.ListenerFailed(_logger, Kinds(failure));
    }

    private bool Reload(out Exception? failure)
    {
        try
        {
            OnReload();
            failure = null;
            return true;
        }
        catch (Exception exception)
        {
            failure = exception;
            return false;
        }
    }

    /// <summary>Not by whatever a listener may have thrown, but by options that could not be made.</summary>
    private static bool IsRefusal(Exception exception) => exception switch
    {
        OptionsValidationException => true,
        // The binder's.
        InvalidOperationException { InnerException: FormatException or ArgumentException or OverflowException } => true,
        AggregateException several => several.InnerExceptions.Any(IsRefusal),
        _ => exception.InnerException is { } inner && IsRefusal(inner),
    };

    /// <summary>Without the messages, which may quote values.</summary>
    private static string Kinds(Exception exception) => exception switch
    {
        AggregateException several => string.Join(", ", several.InnerExceptions.Select(Kinds)),
        OptionsValidationException validation => $"{nameof(OptionsValidationException)} of {validation.OptionsType.Name}",
        _ => exception.InnerException is { } inner ? $"{exception.GetType().Name} ({Kinds(inner)})" : exception.GetType().Name,
    };

    private Dictionary<string, string?> Build(ConfigState[] states)
    {
        var data = new Dictionary<string, string?>(StringComparer.OrdinalIgnoreCase);
        foreach (var (layer, state) in _options.Layers.Zip(states))
        {
            foreach (var value in state.All(_instance).Values.OrderBy(value => value.Key, StringComparer.Ordinal))
                Add(data, layer, value);
        }

        return data;
    }

    private void Add(Dictionary<string, string?> data, EtcdConfigurationLayer layer, ConfigValue value)
    {
        var path = value.Key.Trim('/').Replace("/", ConfigurationPath.KeyDelimiter, StringComparison.Ordinal);
        if (layer.Section.Length > 0)
            path = ConfigurationPath.Combine(layer.Section, path);
        if (!layer.ParseJson || value.Text.AsSpan().TrimStart() is not ['{' or '[', ..])
        {
            data[path] = value.Text;
            return;
        }

        try
        {
            // The root has to be an object.
            using var json = new MemoryStream(Encoding.UTF8.GetBytes($"{{\"_\":{value.Text}}}"));
            foreach (var (key, leaf) in new ConfigurationBuilder().AddJsonStream(json).Build().GetSection("_").AsEnumerable(makePathsRelative: true))
            {
                if (key.Length > 0 && leaf is not null)
                    data[ConfigurationPath.Combine(path, key)] = leaf;
            }
        }
        catch (Exception exception) when (exception is FormatException or InvalidDataException or JsonException or InvalidOperationException)
        {
            // The last one of what is JSON and no text, such as half of a surrogate pair.
            // Without the exception, which may quote the value.
            Log.NoJson(_logger, layer.Prefix + value.Key);
            EtcdMeter.UnreadableValues.Add(1);
        }
    }

    private async Task CloseAsync()
    {
        try
        {
            foreach (var feed in _feeds)
                await feed.DisposeAsync().ConfigureAwait(false);
            if (_etcd is not null)
                await _etcd.DisposeAsync().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            Log.NotClosed(_logger, exception);
        }
    }
}
