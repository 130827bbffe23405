using System.Collections.Immutable;
using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Grpc.Net.Client;

namespace Orleans.Etcd.FaultTests.Histories;

/// <summary>
/// What really happened in a range, from etcd's own watches by nothing but the generated client: one at each member, so that
/// one is enough, and each revision is taken from whoever tells it first.
/// </summary>
/// <remarks>
/// Each watch begins right after the last revision that is known and is complete from there on, so what is taken is complete
/// as well. At the end it is compared with the range itself: a recorder that missed something fails the run, and not the
/// code that is tested.
/// </remarks>
internal sealed class ReferenceLog : IAsyncDisposable
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(100);
    private static readonly TimeSpan Silence = TimeSpan.FromSeconds(3);

    private readonly string _prefix;
    private readonly ByteString _end;
    private readonly GrpcChannel[] _channels;
    private readonly CancellationTokenSource _stop = new();
    private readonly object _lock = new();
    private readonly List<Revision> _revisions = [];
    private Task[] _watches = [];
    private long _known;

    private ReferenceLog(IReadOnlyList<Uri> members, string prefix)
    {
        _prefix = prefix;
        _end = EtcdKeys.RangeEnd(prefix);
        _channels = [.. members.Select(member => GrpcChannel.ForAddress(member))];
    }

    /// <summary>Where the log begins.</summary>
    public long InitialRevision { get; private set; }

    public IReadOnlyList<Revision> Revisions
    {
        get
        {
            lock (_lock)
                return [.. _revisions];
        }
    }

    private ImmutableSortedDictionary<string, string> Initial { get; set; } = ImmutableSortedDictionary<string, string>.Empty;

    /// <summary>All up to here is recorded.</summary>
    public long Known => Volatile.Read(ref _known);

    public static async Task<ReferenceLog> StartAsync(IReadOnlyList<Uri> members, string prefix)
    {
        var log = new ReferenceLog(members, prefix);
        (log.Initial, log.InitialRevision) = await log.ReadAsync();
        log._known = log.InitialRevision;
        log._watches = [.. log._channels.Select(channel => Task.Run(() => WatchAsync(log, channel)))];
        return log;
    }

    /// <summary>Waits until all is recorded that is there now; answers what is wrong with the recording.</summary>
    public async Task<string?> CatchUpAsync(TimeSpan within)
    {
        var marker = await MarkAsync();
        var (state, revision) = await ReadAsync();
        for (var until = MonotonicClock.Now + within.Micros(); ; await Task.Delay(Pause))
        {
            // All up to the marker is recorded then; the last revisions may be of other keys, of which nothing is told.
            if (Known >= marker && LogPart.Same(StateAt(revision), state))
                return null;
            if (Known >= revision)
                return $"the recording of {_prefix} differs from etcd at {revision}";
            if (MonotonicClock.Now > until)
                return $"the recording of {_prefix} is at {Known}, and etcd at {revision}";
        }
    }

    /// <summary>The same of a part of the range, with keys that are shorter by its prefix.</summary>
    public LogPart Under(string prefix)
    {
        if (!prefix.StartsWith(_prefix, StringComparison.Ordinal))
            throw new ArgumentException($"{prefix} is not recorded.", nameof(prefix));
        var inside = prefix[_prefix.Length..];
        return new(
            InitialRevision,
            Cut(Initial),
            [.. Revisions.Select(step => step with { Changes = Cut(step.Changes) }).Where(step => !step.Changes.IsEmpty)]);

        ImmutableSortedDictionary<string, T> Cut<T>(ImmutableSortedDictionary<string, T> all) => all
            .Where(pair => pair.Key.StartsWith(inside, StringComparison.Ordinal))
            .ToImmutableSortedDictionary(pair => pair.Key[inside.Length..], pair => pair.Value, StringComparer.Ordinal);
    }

    private ImmutableSortedDictionary<string, string> StateAt(long revision) => new LogPart(InitialRevision, Initial, Revisions).StateAt(revision);

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await Task.WhenAll(_watches);
        foreach (var channel in _channels)
            channel.Dispose();
        _stop.Dispose();
    }

    /// <summary>Writes something that the watches have to tell.</summary>
    private async Task<long> MarkAsync()
    {
        var request = new PutRequest { Key = ByteString.CopyFromUtf8(_prefix + "reference-log"), Value = ByteString.CopyFromUtf8($"{MonotonicClock.Now}") };
        var response = await AskAsync(client => client.PutAsync(request, deadline: DateTime.UtcNow + Silence, cancellationToken: _stop.Token));
        return response.Header.Revision;
    }

    private async Task<(ImmutableSortedDictionary<string, string> State, long Revision)> ReadAsync()
    {
        var request = new RangeRequest { Key = ByteString.CopyFromUtf8(_prefix), RangeEnd = _end };
        var response = await AskAsync(client => client.RangeAsync(request, deadline: DateTime.UtcNow + Silence, cancellationToken: _stop.Token));
        return (response.Kvs.ToImmutableSortedDictionary(kv => Key(kv.Key), kv => kv.Value.ToStringUtf8(), StringComparer.Ordinal), response.Header.Revision);
    }

    /// <summary>Asks one member after another until one answers.</summary>
    private async Task<T> AskAsync<T>(Func<KV.KVClient, AsyncUnaryCall<T>> ask)
    {
        for (var member = 0; ; member = (member + 1) % _channels.Length)
        {
            try
            {
                return await ask(new KV.KVClient(_channels[member]));
            }
            catch (RpcException)
            {
                await Task.Delay(Pause, _stop.Token);
            }
        }
    }

    private static async Task WatchAsync(ReferenceLog log, GrpcChannel channel)
    {
        while (!log._stop.IsCancellationRequested)
        {
            try
            {
                await log.WatchOnceAsync(new Watch.WatchClient(channel));
            }
            catch (Exception exception) when (exception is RpcException or OperationCanceledException or InvalidOperationException)
            {
                await Task.Delay(Pause, CancellationToken.None);
            }
        }
    }

    private async Task WatchOnceAsync(Watch.WatchClient client)
    {
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(_stop.Token);
        using var call = client.Watch(cancellationToken: silence.Token);
        silence.CancelAfter(Silence);
        await call.RequestStream.WriteAsync(
            new WatchRequest { CreateRequest = new() { Key = ByteString.CopyFromUtf8(_prefix), RangeEnd = _end, StartRevision = Known + 1 } }, silence.Token);
        var asking = AskAsync(call, silence.Token);
        while (await call.ResponseStream.MoveNext(silence.Token))
        {
            silence.CancelAfter(Silence);
            var response = call.ResponseStream.Current;
            if (response.Canceled)
                break;
            Take(response);
        }

        await silence.CancelAsync();
        await asking;
    }

    /// <summary>A member that is frozen or cut off says nothing, and neither does one to which nothing happens: asked, the other answers.</summary>
    private static async Task AskAsync(AsyncDuplexStreamingCall<WatchRequest, WatchResponse> call, CancellationToken end)
    {
        try
        {
            while (true)
            {
                await Task.Delay(Silence / 3, end);
                await call.RequestStream.WriteAsync(new WatchRequest { ProgressRequest = new() }, end);
            }
        }
        catch (Exception exception) when (exception is RpcException or OperationCanceledException or InvalidOperationException)
        {
            // The stream is over.
        }
    }

    private void Take(WatchResponse response)
    {
        var now = MonotonicClock.Now;
        lock (_lock)
        {
            foreach (var step in response.Events.GroupBy(change => change.Kv.ModRevision).Where(group => group.Key > _known))
            {
                var changes = step.ToImmutableSortedDictionary(change => Key(change.Kv.Key), change => change.Type == Mvccpb.Event.Types.EventType.Delete ? null : change.Kv.Value.ToStringUtf8(), StringComparer.Ordinal);
                _revisions.Add(new(step.Key, now, changes));
                _known = step.Key;
            }
        }
    }

    private string Key(ByteString key) => key.ToStringUtf8()[_prefix.Length..];
}
