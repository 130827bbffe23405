using System.Globalization;
using Etcdserverpb;
using Google.Protobuf;
using Grpc.Core;
using Microsoft.Extensions.DependencyInjection;

namespace Orleans.Etcd.Benchmarks;

/// <summary>From sending a bare put until the handler of a subscription runs, and until a bare watch has it.</summary>
internal sealed class PutToObserver(Contest contest, BareEtcd bare, ConfigHosts hosts)
{
    private const string Name = "latency";
    private const string Case = "commit-to-observer";
    private const int Operations = 300;
    private const double Limit = 2;

    private long _puts;

    public async Task RunAsync(CancellationToken cancellationToken)
    {
        var prefix = $"orleans/{hosts.Id}/config/{Name}/";
        var (serving, other) = await hosts.SilosAsync(Name);
        using var watch = new Watched(bare, prefix);
        await watch.StartAsync();
        Told[] told =
        [
            await SubscribeAsync("view in the silo", handler => serving.GetRequiredKeyedService<IConfigView>(Name).SubscribeAsync(handler)),
            await SubscribeAsync("same silo", handler => serving.GetRequiredService<IGrainFactory>().GetGrain<IConfigGrain>(Name).SubscribeAsync(handler)),
            await SubscribeAsync("another silo", handler => other.GetRequiredService<IGrainFactory>().GetGrain<IConfigGrain>(Name).SubscribeAsync(handler)),
            await SubscribeAsync("client", handler => hosts.Client.GetGrain<IConfigGrain>(Name).SubscribeAsync(handler)),
        ];
        try
        {
            var key = ByteString.CopyFromUtf8(prefix + "a");
            var bareWatch = Contender("bare put to watch", key, watch.Awaited);
            foreach (var one in told)
            {
                var figures = await contest.CompareAsync(Case, Operations, Contender(one.Name, key, one.Awaited), [bareWatch], cancellationToken);
                var more = figures[0].OursMedian - figures[0].TheirsMedian;
                contest.Report.Goal($"{Case}, {one.Name}: at most {Limit} ms more than {bareWatch.Name}", more <= Limit, FormattableString.Invariant($"{more:0.00} ms"));
            }
        }
        finally
        {
            foreach (var one in told)
                await one.DisposeAsync();
        }
    }

    /// <summary>The answer to the put is not waited for in the time that is measured.</summary>
    private Contender Contender(string name, ByteString key, Awaited awaited)
    {
        var put = Task.CompletedTask;
        return new Contender(name, async () =>
        {
            var number = ++_puts;
            var told = awaited.Is(number);
            put = bare.KV.PutAsync(new PutRequest { Key = key, Value = ByteString.CopyFromUtf8(number.ToString(CultureInfo.InvariantCulture)) }).ResponseAsync;
            await told.WaitAsync(TimeSpan.FromSeconds(10));
        })
        {
            Prepare = () => put,
        };
    }

    private static async Task<Told> SubscribeAsync(string name, Func<Func<ConfigNotification, Task>, Task<IAsyncDisposable>> subscribe)
    {
        var told = new Told(name);
        told.Subscription = await subscribe(told.OnAsync);
        return told;
    }

    /// <summary>Waits for the value of one put: what was put before it may come later than that is asked for.</summary>
    private sealed class Awaited
    {
        private volatile Wait _wait = new(long.MaxValue);

        public Task Is(long number) => (_wait = new Wait(number)).Done.Task;

        public void Came(string text)
        {
            var wait = _wait;
            if (long.Parse(text, CultureInfo.InvariantCulture) >= wait.Number)
                wait.Done.TrySetResult();
        }

        private sealed record Wait(long Number)
        {
            public TaskCompletionSource Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private sealed class Told(string name) : IAsyncDisposable
    {
        public string Name => name;

        public Awaited Awaited { get; } = new();

        public IAsyncDisposable? Subscription { get; set; }

        public Task OnAsync(ConfigNotification notification)
        {
            foreach (var change in notification.Changes)
                Awaited.Came(change.New!.Text);
            return Task.CompletedTask;
        }

        public ValueTask DisposeAsync() => Subscription!.DisposeAsync();
    }

    /// <summary>A watch as the generated client has it.</summary>
    private sealed class Watched(BareEtcd bare, string prefix) : IDisposable
    {
        private readonly AsyncDuplexStreamingCall<WatchRequest, WatchResponse> _stream = bare.Watches.Watch();

        public Awaited Awaited { get; } = new();

        public async Task StartAsync()
        {
            var range = Txn.Range(prefix);
            await _stream.RequestStream.WriteAsync(new WatchRequest { CreateRequest = new WatchCreateRequest { Key = range.Key, RangeEnd = range.RangeEnd } });
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
