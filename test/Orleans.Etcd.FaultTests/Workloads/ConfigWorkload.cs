using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Text;
using Google.Protobuf;
using Orleans.Etcd.FaultTests.Checkers;
using Orleans.Etcd.FaultTests.Histories;
using Orleans.Etcd.FaultTests.Runs;
using Orleans.Etcd.Tests;
using Orleans.Etcd.Tests.Silo;

namespace Orleans.Etcd.FaultTests.Workloads;

/// <summary>Commits, rollbacks, foreign writes and reads of one namespace, and observers of it in a client, in grains and in services of silos.</summary>
internal sealed class ConfigWorkload(Deployment deployment, int seed) : Workload("config", deployment, seed)
{
    private const string Namespace = "faults";
    private const int Keys = 10;
    private const int Listeners = 3;
    private const string ToldToClient = "told to a client";

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(12);

    private readonly string _prefix = EtcdKeys.Config(Configuration.EtcdOptions.DefaultKeyPrefix, deployment.Id) + Namespace + "/";
    private readonly List<ConfigStep> _client = [];
    private readonly ConcurrentBag<(string Where, IReadOnlyList<ConfigStep> Told)> _observers = [];
    private readonly ConcurrentQueue<(long Revision, string[] Values)> _acknowledged = [];
    private readonly ConcurrentQueue<string[]> _denied = [];
    private readonly IConfigListener[] _listeners = [.. Enumerable.Range(0, Listeners).Select(_ => deployment.Clients[1].GetGrain<IConfigListener>(Random.Shared.NextInt64()))];
    private IAsyncDisposable? _subscription;
    private EtcdConnection? _foreign;
    private long _last;
    private long _committed;
    private int _values;

    public override int Enough => 50;

    public override IEnumerable<(string Name, IEnumerable<object> Records)> Records =>
        _observers.Select((observer, number) => ($"told to observer {number}, {observer.Where}", (IEnumerable<object>)observer.Told));

    public override async Task StartAsync()
    {
        var foreign = _foreign = Deployment.Connect();
        _subscription = await Config(0).SubscribeAsync(told =>
        {
            lock (_client)
                _client.Add(ConfigStep.Of(told));
            History.Add(new Step(0, ToldToClient) { Ended = MonotonicClock.Now });
            return Task.CompletedTask;
        });
        await Task.WhenAll(_listeners.Select(listener => listener.Listen(Namespace)));
        for (var i = 0; i < 2; i++)
        {
            var client = i;
            History.Expect(ConfigOperation.CapabilityOf("commit", client));
            var process = History.NewProcess();
            Loop(async random => process = await CommitAsync(random, client, process));
        }

        History.Expect(ToldToClient);
        var roller = History.NewProcess();
        Loop(async random => roller = await RollbackAsync(random, roller));
        foreach (var action in new[] { "read", "read back" })
        {
            var reader = History.NewProcess();
            History.Expect(ConfigOperation.CapabilityOf(action, 0));
            Loop(random => ReadAsync(random, new ConfigOperation(reader, action)));
        }

        var subscriber = new ConfigOperation(History.NewProcess(), "subscribe") { Client = 1 };
        History.Expect(subscriber.Capability);
        Loop(random => SubscribeAsync(random, subscriber));
        var writer = History.NewProcess();
        Loop(async random =>
        {
            var key = $"{_prefix}key{random.Next(Keys)}";
            var value = random.Next(6) == 0 ? null : NewValue();
            var done = await History.RunAsync(new Step(writer, "foreign"), CallLimit, async _ =>
            {
                // Without a token: it ends by itself.
                if (value is null)
                {
                    await foreign.DeleteRangeAsync(new() { Key = Connections.Bytes(key) }, CancellationToken.None);
                    return new Step(writer, "foreign");
                }

                var response = await foreign.PutAsync(key, value, cancellationToken: CancellationToken.None);
                _acknowledged.Enqueue((response.Header.Revision, [value]));
                return new Step(writer, "foreign");
            });
            if (done.Outcome == Outcome.Fail && value is not null)
                _denied.Enqueue([value]);
            await PauseAsync(random, 50, 250);
        });
    }

    public override async Task StopAsync()
    {
        await base.StopAsync();
        // What was asked and not answered may still come after it, and after the observers have been asked.
        _last = (await _foreign!.PutAsync(_prefix + "last", NewValue())).Header.Revision;
        var until = MonotonicClock.Now + TimeSpan.FromSeconds(5).Micros();
        await UntilAsync(() => Task.FromResult(Client() is [.., var told] && told.Revision >= _last));
        _observers.Add(("client", Client()));
        foreach (var listener in _listeners)
        {
            (ConfigStep[] Grain, ConfigStep[] Service)? told = null;
            await UntilAsync(async () => (told = await listener.Told()) is not { } all || (all.Grain.Length > 0 && all.Grain[^1].Revision >= _last && all.Service.Length > 0 && all.Service[^1].Revision >= _last));
            // Null: the one that listened went with its silo.
            if (told is not { } complete)
                continue;
            _observers.Add(("grain", complete.Grain));
            _observers.Add(("service of a silo", complete.Service));
        }

        async Task UntilAsync(Func<Task<bool>> condition)
        {
            while (!await condition() && MonotonicClock.Now < until)
                await Task.Delay(50);
        }
    }

    public override void Check(Findings findings, RunFacts facts)
    {
        var log = facts.Log.Under(_prefix);
        var attacked = Deployment.Attacked.Values.DefaultIfEmpty(long.MaxValue).Min();
        foreach (var fault in log.Unwritten(_acknowledged).Concat(log.Written(_denied)))
            findings.Violated($"config, by others: {fault}");
        foreach (var (where, told) in _observers)
        {
            foreach (var fault in ObserverChecker.Check(log, told, _last, mayReadAnew: step => step.Previous <= Deployment.CompactedBy(step.At) || step.At >= attacked))
                findings.Violated($"config, {where}: {fault}");
            findings.Count("config revisions told", told.Count(step => !step.IsSnapshot));
            findings.Count("config snapshots told", told.Count(step => step.IsSnapshot));
        }

        findings.Count("config observers", _observers.Count);
        foreach (var action in new[] { "rollback", "foreign" })
        {
            var count = History.Steps.Count(step => step.Action == action && step.Succeeded);
            findings.Count($"config, {action}", count);
            if (count == 0)
                findings.Violated($"config: no {action} was made at all");
        }

        // Of what is not forgotten, once all is calm.
        if (!facts.Schedule.AttacksSilos && History.Steps.OfType<ConfigOperation>().FirstOrDefault(step => step is { Action: "rollback", Outcome: Outcome.Fail } && step.Invoked >= facts.CalmFrom && step.To > Deployment.Compacted) is { } refused)
            findings.Violated($"config: a rollback to {refused.To} was not made: {refused.Error}");
        if (!facts.Schedule.AttacksSilos)
        {
            if (_observers.Count < 1 + (2 * Listeners))
                findings.Violated($"only {_observers.Count} observers were left");
            foreach (var (where, told) in _observers)
                CheckTimes(where, told, findings, facts);
        }

        foreach (var fault in ConfigChecker.Check(log, [.. History.Steps.OfType<ConfigOperation>()], Deployment.Compacted, facts.OldestAt, Recorded(facts)))
            findings.Violated($"config: {fault}");
    }

    /// <summary>The values that commits before this run have left in their records.</summary>
    private string[] Recorded(RunFacts facts)
    {
        var records = facts.Log.Under(EtcdKeys.ConfigHistory(Configuration.EtcdOptions.DefaultKeyPrefix, Deployment.Id) + Namespace + "/").Initial.Values;
        return
        [
            .. records.Select(record => ConfigRecord.Decode(ByteString.CopyFromUtf8(record))).OfType<ConfigRecord>()
                .SelectMany(record => record.Edits).Select(edit => edit.Value).OfType<byte[]>().Select(Encoding.UTF8.GetString),
        ];
    }

    /// <summary>Every observer is told again in time, be it where nobody looks while the run goes on.</summary>
    private static void CheckTimes(string where, IReadOnlyList<ConfigStep> told, Findings findings, RunFacts facts)
    {
        var history = new History($"config, {where}");
        history.Expect("told");
        foreach (var step in told)
            history.Add(new Step(0, "told") { Ended = step.At });
        WorkChecker.Check(history, facts, asksSilos: true, findings);
    }

    public override async ValueTask DisposeAsync()
    {
        if (_subscription is not null)
            await _subscription.DisposeAsync();
        foreach (var listener in _listeners)
        {
            try
            {
                await listener.Stop();
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException)
            {
                // It went with its silo.
            }
        }

        if (_foreign is not null)
            await _foreign.DisposeAsync();
        await base.DisposeAsync();
    }

    private ConfigStep[] Client()
    {
        lock (_client)
            return [.. _client];
    }

    private IConfigGrain Config(int client) => Deployment.Clients[client].GetGrain<IConfigGrain>(Namespace);

    private string NewValue() => $"{Seed}-{Interlocked.Increment(ref _values)}";

    /// <summary>Reads what is known, or back what was committed last, by whichever client.</summary>
    private async Task ReadAsync(Random random, ConfigOperation read)
    {
        var begun = read with { AtLeast = read.Action == "read" ? 0 : Interlocked.Read(ref _committed) };
        await History.RunAsync(begun, GrainCallLimit, async _ =>
        {
            var all = await Config(0).GetAll(new ConfigRead { MinRevision = begun.AtLeast });
            return begun with { Revision = all.Revision, Values = all.Values.ToImmutableSortedDictionary(pair => pair.Key, pair => (string?)pair.Value.Text, StringComparer.Ordinal) };
        }, Patience);
        await PauseAsync(random, 50, 200);
    }

    /// <summary>Subscribes anew: what is told first is what is known, like a read.</summary>
    private async Task SubscribeAsync(Random random, ConfigOperation subscribe)
    {
        await History.RunAsync(subscribe, GrainCallLimit, async _ =>
        {
            var first = new TaskCompletionSource<ConfigStep>(TaskCreationOptions.RunContinuationsAsynchronously);
            await using var subscription = await Config(subscribe.Client).SubscribeAsync(told =>
            {
                first.TrySetResult(ConfigStep.Of(told));
                return Task.CompletedTask;
            }, cancellationToken: CancellationToken.None);
            var step = await first.Task;
            return subscribe with { Revision = step.Revision, Values = step.Changes.ToImmutableSortedDictionary(StringComparer.Ordinal) };
        }, Patience);
        await PauseAsync(random, 300, 900);
    }

    private async Task<int> CommitAsync(Random random, int client, int process)
    {
        var config = Config(client);
        await PauseAsync(random, 50, 300);
        var values = Enumerable.Range(0, Keys).OrderBy(_ => random.Next()).Take(random.Next(1, 4))
            .ToImmutableSortedDictionary(key => $"key{key}", _ => random.Next(8) == 0 ? null : NewValue(), StringComparer.Ordinal);
        var expected = random.Next(3) == 0 && await ExpectedAsync(config, values.Keys.First()) is { } revision ? KeyValuePair.Create(values.Keys.First(), revision) : default;
        var begun = new ConfigOperation(process, "commit") { Client = client, Values = values, Expected = expected };
        var done = await History.RunAsync(begun, GrainCallLimit, async _ =>
        {
            var edits = values.Select(pair => (pair.Value is null ? ConfigEdit.Delete(pair.Key) : ConfigEdit.Set(pair.Key, pair.Value)) with { ExpectedRevision = pair.Key == expected.Key ? expected.Value : null });
            var result = await config.Commit(new ConfigCommit { Edits = [.. edits] });
            if (result.IsCommitted)
                Interlocked.Exchange(ref _committed, result.Revision);
            return begun with { Revision = result.Revision, Conflicted = !result.IsCommitted };
        }, Patience);
        return done.Outcome == Outcome.Unknown ? History.NewProcess() : process;
    }

    private async Task<int> RollbackAsync(Random random, int process)
    {
        await PauseAsync(random, 500, 2_500);
        var commits = History.Steps.OfType<ConfigOperation>().Where(step => step is { Action: "commit", Succeeded: true }).ToArray();
        if (commits.Length == 0)
            return process;
        var earlier = random.Next(2) == 0 ? commits[^1] : commits[random.Next(commits.Length)];
        var begun = new ConfigOperation(process, "rollback") { To = earlier.Revision };
        var done = await History.RunAsync(begun, GrainCallLimit, async _ =>
        {
            try
            {
                var result = await Config(1).Rollback(earlier.Revision, "faults");
                return begun with { Revision = result.Revision, Conflicted = !result.IsCommitted, Compacted = Deployment.Compacted };
            }
            catch (InvalidOperationException refused) when (earlier.Revision <= Deployment.Compacted && refused.GetType() == typeof(InvalidOperationException))
            {
                return begun with { Outcome = Outcome.Fail, Error = refused.Message };
            }
        }, Patience);
        return done.Outcome == Outcome.Unknown ? History.NewProcess() : process;
    }

    private static async Task<long?> ExpectedAsync(IConfigGrain config, string key)
    {
        try
        {
            return (await config.Get(key).WaitAsync(Patience))?.Revision ?? 0;
        }
        catch (Exception exception) when (exception is EtcdException or OrleansException or TimeoutException)
        {
            return null;
        }
    }
}
