using System.Collections.Concurrent;
using Etcdserverpb;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Changes of a range, some of several keys at once, two watches of it over connections of their own, and others that begin now and then.</summary>
internal sealed class WatchWorkload(Deployment deployment, int seed) : Workload("watch", deployment, seed)
{
    private const int Keys = 12;
    private readonly string _prefix = $"{Deployment.KeyRoot}watched-{Guid.NewGuid():N}/";
    private readonly List<Watcher> _watchers = [];
    private readonly History _writes = new("writes of what is watched");
    private readonly ConcurrentQueue<(long Revision, string[] Values)> _acknowledged = [];
    private readonly ConcurrentQueue<string[]> _denied = [];
    private readonly ConcurrentQueue<Begun> _begun = [];
    private EtcdConnection _writer = null!;
    private long _last;
    private int _values;

    public override int Enough => 30;

    public override bool AsksSilos => false;

    public override IReadOnlyList<History> Histories => [History, _writes];

    public override IEnumerable<(string Name, IEnumerable<object> Records)> Records =>
        _watchers.Select((watcher, number) => ($"told by watch {number}", (IEnumerable<object>)watcher.Told));

    public override async Task StartAsync()
    {
        _writer = Deployment.Connect();
        _writes.Expect("write");
        for (var i = 0; i < 2; i++)
            _watchers.Add(new Watcher(Deployment.Connect(), _prefix, History, i));
        await Task.WhenAll(_watchers.Select(watcher => watcher.Started));
        var process = _writes.NewProcess();
        Loop(async random =>
        {
            var txn = new TxnRequest();
            var values = new List<string>();
            foreach (var key in Enumerable.Range(0, Keys).OrderBy(_ => random.Next()).Take(random.Next(3) == 0 ? random.Next(2, 6) : 1))
            {
                if (random.Next(4) == 0)
                {
                    txn.Success.Add(Txn.Delete(Connections.Bytes($"{_prefix}{key}")));
                    continue;
                }

                values.Add($"{Interlocked.Increment(ref _values)}");
                txn.Success.Add(Txn.Put(Connections.Bytes($"{_prefix}{key}"), Connections.Bytes(values[^1])));
            }

            var done = await _writes.RunAsync(new Step(process, "write"), CallLimit, async _ =>
            {
                // Repeated where it is not answered: which came when is for the log to say. Without a token: it ends by itself.
                var response = await _writer.TxnRepeatablyAsync(txn, CancellationToken.None);
                _acknowledged.Enqueue((response.Header.Revision, [.. values]));
                Interlocked.Exchange(ref _last, response.Header.Revision);
                return new Step(process, "write");
            });
            if (done.Outcome == Outcome.Fail)
                _denied.Enqueue([.. values]);
            await PauseAsync(random, 10, 80);
        });
        var begin = new Step(History.NewProcess(), "begun");
        History.Expect(begin.Capability);
        Loop(async random =>
        {
            var atLeast = Interlocked.Read(ref _last);
            await History.RunAsync(begin, CallLimit, async token =>
            {
                await using var watch = new RangeWatch(_writer, _prefix);
                var first = (await watch.Batches.ReadAsync(token)).Snapshot;
                _begun.Enqueue(new(atLeast, first.Revision, first.Values.ToDictionary(pair => pair.Key.ToStringUtf8()[_prefix.Length..], pair => pair.Value.Value.ToStringUtf8())));
                return begin;
            });
            await PauseAsync(random, 200, 600);
        });
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var log = facts.Log.Under(_prefix);
        foreach (var fault in log.Unwritten(_acknowledged).Concat(log.Written(_denied)))
            findings.Violated(fault);
        foreach (var fault in CheckBegun(log, _begun))
            findings.Violated(fault);
        findings.Count("watches begun", _begun.Count);
        foreach (var (watcher, number) in _watchers.Select((watcher, number) => (watcher, number)))
        {
            var told = watcher.Told;
            foreach (var fault in ObserverChecker.Check(log, told, mayReadAnew: step => step.Previous <= Deployment.CompactedBy(step.At)))
                findings.Violated($"watch {number}: {fault}");
            findings.Count("watched revisions", told.Count(step => !step.IsSnapshot));
            findings.Count("watches read anew", told.Count(step => step.IsSnapshot) - 1);
        }
    }

    /// <summary>A watch begins with what is there, and that is not what was there before it.</summary>
    public static IEnumerable<string> CheckBegun(LogPart log, IEnumerable<Begun> begun) =>
        from one in begun
        where one.Revision < one.AtLeast || !LogPart.Same(log.StateAt(Math.Max(one.Revision, log.InitialRevision)), one.State)
        select $"a watch began with what was not there at {one.Revision}, or before {one.AtLeast}: {string.Join(' ', one.State)}";

    public override async Task StopAsync()
    {
        await base.StopAsync();
        // Twice the longest pause between two attempts.
        await Task.Delay(TimeSpan.FromSeconds(2));
    }

    public override async ValueTask DisposeAsync()
    {
        foreach (var watcher in _watchers)
            await watcher.DisposeAsync();
        await RemoveAsync(_writer, Txn.Delete(new RangeRequest { Key = Connections.Bytes(_prefix), RangeEnd = EtcdKeys.RangeEnd(_prefix) }));
        await _writer.DisposeAsync();
        await base.DisposeAsync();
    }

    /// <summary>What a watch told first, and which revision had been known to its writer before it began.</summary>
    internal sealed record Begun(long AtLeast, long Revision, IReadOnlyDictionary<string, string> State);

    /// <summary>A watch, and all that it told.</summary>
    private sealed class Watcher : IAsyncDisposable
    {
        private readonly TaskCompletionSource _started = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private readonly List<ConfigStep> _told = [];
        private readonly EtcdConnection _etcd;
        private readonly RangeWatch _watch;
        private readonly string _prefix;
        private readonly History _history;
        private readonly int _number;
        private readonly Task _reading;

        public Watcher(EtcdConnection etcd, string prefix, History history, int number)
        {
            (_etcd, _prefix, _history, _number) = (etcd, prefix, history, number);
            history.Expect(Capability);
            _watch = new RangeWatch(etcd, prefix);
            _reading = Task.Run(ReadAsync);
        }

        private string Capability => $"told {_number}";

        public Task Started => _started.Task;

        public IReadOnlyList<ConfigStep> Told
        {
            get
            {
                lock (_told)
                    return [.. _told];
            }
        }

        public async ValueTask DisposeAsync()
        {
            await _watch.DisposeAsync();
            await _reading;
            await _etcd.DisposeAsync();
        }

        private async Task ReadAsync()
        {
            var last = 0L;
            await foreach (var batch in _watch.Batches.ReadAllAsync())
            {
                var changes = batch.IsResync
                    ? batch.Snapshot.Values.ToDictionary(pair => Key(pair.Key), pair => (string?)pair.Value.Value.ToStringUtf8())
                    : batch.Changes.ToDictionary(change => Key(change.Key), change => change.Current?.Value.ToStringUtf8());
                lock (_told)
                    _told.Add(new ConfigStep(last, batch.Snapshot.Revision, batch.IsResync, changes) { At = MonotonicClock.Now });
                last = batch.Snapshot.Revision;
                _history.Add(new Step(_number, Capability) { Ended = MonotonicClock.Now });
                _started.TrySetResult();
            }
        }

        private string Key(Google.Protobuf.ByteString key) => key.ToStringUtf8()[_prefix.Length..];
    }
}
