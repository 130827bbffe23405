using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// The members, and the one in use. All calls of a process go to one member until it fails, or keeps silent while another
/// answers again; which one is drawn by chance, so that processes spread. Invariant: after a failure on the member in use, the
/// next call goes elsewhere.
/// </summary>
internal sealed class EndpointPool : IDisposable
{
    private static readonly TimeSpan HangingFor = TimeSpan.FromSeconds(10);

    // Whoever is without a leader gets no answer for a second and more.
    private static readonly TimeSpan Quiet = TimeSpan.FromMilliseconds(800);

    private readonly object _lock = new();
    private readonly EtcdEndpoint[] _endpoints;
    private readonly TimeProvider _time;
    private readonly TimeSpan _connectTimeout;
    private int _current;
    private long _lastAnswer;
    private TaskCompletionSource _recovered = NewSignal();

    public EndpointPool(EtcdOptions options, TimeProvider time)
    {
        _time = time;
        _connectTimeout = options.ConnectTimeout;
        _endpoints = [.. options.Endpoints.Select(endpoint => new Uri(WithPort(endpoint))).Distinct().Select(uri => new EtcdEndpoint(uri, options))];
        _current = Random.Shared.Next(_endpoints.Length);
        _lastAnswer = time.GetTimestamp();
        Description = string.Join(", ", _endpoints.Select(endpoint => endpoint.Address.GetLeftPart(UriPartial.Authority)));
    }

    public int Count => _endpoints.Length;

    public IReadOnlyList<Uri> Addresses => [.. _endpoints.Select(endpoint => endpoint.Address)];

    public string Description { get; }

    /// <summary>Completes when a member answers next that did not before, or any after a while: a reason to try sooner what has failed.</summary>
    public Task Recovered => Volatile.Read(ref _recovered).Task;

    public EtcdEndpoint Current => _endpoints[Volatile.Read(ref _current)];

    /// <summary>
    /// Another member than <paramref name="avoided"/>, for one stream that got no answer there; the member in use
    /// where there is no choice. Calls are not moved. With what is cancelled when the member is found to hang: taken
    /// together, so that no stream is opened on it in between and missed.
    /// </summary>
    public (EtcdEndpoint Endpoint, CancellationToken Suspected) Other(EtcdEndpoint? avoided)
    {
        lock (_lock)
        {
            var endpoint = avoided is null || avoided != Current ? Current : Best(except: avoided);
            return (endpoint, endpoint.Suspected);
        }
    }

    /// <summary>
    /// Records a failure; moves on when it was the member in use. Answers where calls go now if that is news: null when
    /// they have not moved, or when that member was known to fail, as it is again and again in an outage of all.
    /// </summary>
    public EtcdEndpoint? Fail(EtcdEndpoint failed, bool hung)
    {
        EtcdEndpoint next;
        bool known;
        lock (_lock)
        {
            known = failed.Failing;
            failed.Failing = true;
            failed.LastFailure = _time.GetTimestamp();
            failed.Hung = hung;
            if (failed != Current || _endpoints.Length == 1)
                return null;
            next = Best(except: failed);
            Volatile.Write(ref _current, Array.IndexOf(_endpoints, next));
        }

        if (hung)
            failed.Suspect();
        return known ? null : next;
    }

    /// <summary>
    /// Records that a member neither answered nor refused; true where it has kept silent for so long that it was given
    /// another connection. Nothing else gives up one that gets nowhere.
    /// </summary>
    public bool NoteSilence(EtcdEndpoint endpoint)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            if (endpoint.SilentSince == 0)
            {
                endpoint.SilentSince = now;
                return false;
            }

            if (_time.GetElapsedTime(endpoint.SilentSince, now) < _connectTimeout)
                return false;
            endpoint.SilentSince = 0;
        }

        endpoint.Reconnect();
        return true;
    }

    /// <summary>All members but one.</summary>
    public IEnumerable<EtcdEndpoint> Others(EtcdEndpoint endpoint) => _endpoints.Where(other => other != endpoint);

    /// <summary>The members with streams on them that have not been asked for <paramref name="long"/>; each once, until <see cref="EndProbe"/>.</summary>
    public IReadOnlyList<EtcdEndpoint> Unasked(TimeSpan @long)
    {
        lock (_lock)
        {
            var now = _time.GetTimestamp();
            var unasked = _endpoints.Where(endpoint => endpoint.Streams > 0 && !endpoint.Probed)
                .Where(endpoint => endpoint.LastProbe is not { } last || _time.GetElapsedTime(last, now) >= @long)
                .ToArray();
            foreach (var endpoint in unasked)
                endpoint.Probed = true;
            return unasked;
        }
    }

    /// <summary>Records what came of asking a member.</summary>
    public void EndProbe(EtcdEndpoint endpoint, bool heard)
    {
        if (heard)
            NoteSign(endpoint);
        lock (_lock)
        {
            endpoint.LastProbe = _time.GetTimestamp();
            endpoint.Probed = false;
        }
    }

    /// <summary>Records that something came from a member, be it a refusal.</summary>
    public void NoteSign(EtcdEndpoint endpoint)
    {
        endpoint.LastSign = _time.GetTimestamp();
        if (endpoint.SilentSince == 0)
            return;
        lock (_lock)
            endpoint.SilentSince = 0;
    }

    /// <summary>Records an answer, so that a member that healed counts as good as any.</summary>
    public void Succeed(EtcdEndpoint endpoint)
    {
        NoteSign(endpoint);
        var now = endpoint.LastSign;
        var before = Interlocked.Exchange(ref _lastAnswer, now);
        if (!endpoint.Failing && _time.GetElapsedTime(before, now) < Quiet)
            return;
        lock (_lock)
        {
            endpoint.Failing = false;
            endpoint.Hung = false;
            endpoint.LastRecovery = now;
        }

        Interlocked.Exchange(ref _recovered, NewSignal()).TrySetResult();
    }

    /// <summary>
    /// The member to ask where what was sent at that time is not answered: one that answers again since and has not failed
    /// after that, if there is one, and all calls go there where nothing has come from the one in use; else the one in use. And
    /// whether that is news.
    /// </summary>
    public (EtcdEndpoint Endpoint, bool Moved) After(long sent)
    {
        lock (_lock)
        {
            var current = Current;
            if (RecoveredSince(sent) is not { } recovered)
                return (current, false);
            if (recovered == current || current.LastSign >= sent)
                return (recovered, false);
            // The last to be tried next.
            current.LastFailure = _time.GetTimestamp();
            Volatile.Write(ref _current, Array.IndexOf(_endpoints, recovered));
            return (recovered, true);
        }
    }

    public void Dispose()
    {
        foreach (var endpoint in _endpoints)
            endpoint.Dispose();
    }

    private EtcdEndpoint? RecoveredSince(long since) =>
        _endpoints.Where(endpoint => endpoint.LastRecovery >= since && !endpoint.Failing).MaxBy(static endpoint => endpoint.LastRecovery);

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    // One that refuses costs a moment, one that hangs a whole timeout: those come last for a while, and then have their
    // turn like the others, since they may be the only ones left; otherwise the longest since a failure.
    private EtcdEndpoint Best(EtcdEndpoint except) =>
        _endpoints.Where(endpoint => endpoint != except).OrderBy(IsHanging).ThenBy(endpoint => endpoint.LastFailure).FirstOrDefault(except);

    private bool IsHanging(EtcdEndpoint endpoint) => endpoint.Hung && _time.GetElapsedTime(endpoint.LastFailure) < HangingFor;

    private static string WithPort(string endpoint)
    {
        var uri = new Uri(endpoint);
        if (!uri.IsDefaultPort)
            return endpoint;
        var explicitPort = endpoint.Trim().TrimEnd('/').EndsWith($":{uri.Port}", StringComparison.Ordinal);
        return explicitPort ? endpoint : new UriBuilder(uri) { Port = 2379 }.Uri.ToString();
    }
}
