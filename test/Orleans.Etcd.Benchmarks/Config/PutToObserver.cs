using System.Globalization;
using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>From sending a write until the handler of a subscription runs, beside a bare watch that has it and a grain call.</summary>
internal sealed class PutToObserver(Contest contest, BareEtcd bare, ConfigHosts hosts)
{
    private const string Name = "latency";
    // Not one that our watches are on, whose deliveries would weigh on it.
    private const string BareKey = "bare/latency/a";
    private const string Case = "commit-to-observer";
    private const int Operations = 300;
    private const double LimitMilliseconds = 1;

    private long _puts;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var (serving, other) = await hosts.SilosAsync(Name);
        var (here, there, outside) = (serving.GetRequiredService<IGrainFactory>(), other.GetRequiredService<IGrainFactory>(), hosts.Client);
        using var watch = new Watched(bare, BareKey);
        await watch.StartAsync();
        var silo = serving.GetRequiredService<ILocalSiloDetails>().SiloAddress;
        (Func<Task<Told>> SubscribeAsync, IGrainFactory From, Func<string, Task> Write)[] cases =
        [
            (() => Told.SubscribeAsync("view in the silo", handler => serving.GetRequiredKeyedService<IConfigView>(Name).SubscribeAsync(handler)), here, Put),
            (() => Told.SubscribeAsync("same silo", here.GetGrain<IConfigGrain>(Name)), here, Put),
            (() => Told.SubscribeAsync("another silo", there.GetGrain<IConfigGrain>(Name)), there, Put),
            (() => Told.SubscribeAsync("client", outside.GetGrain<IConfigGrain>(Name)), outside, Put),
            (() => Told.SubscribeAsync("client, by Set of a client", outside.GetGrain<IConfigGrain>(Name)), outside, Set),
        ];
        foreach (var (subscribeAsync, from, write) in cases)
        {
            // One at a time: what others are told would weigh on the time of whoever is next.
            await using var told = await subscribeAsync();
            await CompareAsync(Contender(told.Name, write, told.Awaited), await ConfigHosts.EmptyOnAsync(silo, from));
        }

        async Task CompareAsync(Contender ours, Func<Task> call)
        {
            Contender[] others = [Contender("bare put to watch", value => bare.PutAsync(BareKey, value), watch.Awaited), new Contender("empty grain call", call)];
            var figures = await contest.CompareAsync(Case, Operations, ours, others, cancellationToken);
            var (put, hop) = (figures[0], figures[1]);
            var more = contest.Add(Case, "more_ms", ours.Name, null, [.. put.Ours.Select((told, round) => told - put.Theirs[round] - hop.Theirs[round])], []);
            contest.Report.Goal(
                $"{Case}, {ours.Name}: at most {LimitMilliseconds} ms more than {others[0].Name} and an {others[1].Name}",
                more.OursMedian <= LimitMilliseconds, FormattableString.Invariant($"{more.OursMedian:0.00} ({more.OursMin:0.00}-{more.OursMax:0.00}) ms"));
        }

        Task Put(string value) => bare.PutAsync(hosts.KeyOf(Name, "a"), value);

        Task Set(string value) => hosts.Client.GetGrain<IConfigGrain>(Name).Set("a", value);
    }

    /// <summary>The answer to the write is not waited for in the time that is measured.</summary>
    private Contender Contender(string name, Func<string, Task> write, Awaited awaited)
    {
        var written = Task.CompletedTask;
        return new Contender(name, async () =>
        {
            var number = ++_puts;
            var told = awaited.Is(number);
            written = write(number.ToString(CultureInfo.InvariantCulture));
            await told.WaitAsync(TimeSpan.FromSeconds(10));
        })
        {
            Conclude = () => written,
        };
    }

    /// <summary>A watch as the generated client has it.</summary>
    private sealed class Watched(BareEtcd bare, string key) : IDisposable
    {
        private readonly AsyncDuplexStreamingCall<WatchRequest, WatchResponse> _stream = bare.Watches.Watch();

        public Awaited Awaited { get; } = new();

        public async Task StartAsync()
        {
            await _stream.RequestStream.WriteAsync(new WatchRequest { CreateRequest = new WatchCreateRequest { Key = ByteString.CopyFromUtf8(key) } });
            await _stream.ResponseStream.MoveNext(CancellationToken.None);
            _ = Task.Run(ReadAsync);
        }

        public void Dispose() => _stream.Dispose();

        private async Task ReadAsync()
        {
            try
            {
                await foreach (var response in _stream.ResponseStream.ReadAllAsync())
                {
                    foreach (var happened in response.Events)
                        Awaited.Came(happened.Kv.Value.ToStringUtf8());
                }
            }
            catch (RpcException)
            {
                // It is disposed.
            }
        }
    }
}
