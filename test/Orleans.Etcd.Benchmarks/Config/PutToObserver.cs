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
            var bareWatch = new Contender("bare put to watch", () => PutAsync(key, watch.NextAsync()));
            foreach (var one in told)
            {
                var figures = await contest.CompareAsync(Case, Operations, new Contender(one.Name, () => PutAsync(key, one.NextAsync())), [bareWatch], cancellationToken);
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

    private async Task PutAsync(ByteString key, Task told)
    {
        _ = await bare.KV.PutAsync(new PutRequest { Key = key, Value = ByteString.CopyFromUtf8("1") });
        await told.WaitAsync(TimeSpan.FromSeconds(10));
    }

    private static async Task<Told> SubscribeAsync(string name, Func<Func<ConfigNotification, Task>, Task<IAsyncDisposable>> subscribe)
    {
        var told = new Told(name);
        told.Subscription = await subscribe(told.OnAsync);
        return told;
    }

    private sealed class Told(string name) : IAsyncDisposable
    {
        private volatile TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public string Name => name;

        public IAsyncDisposable? Subscription { get; set; }

        public Task NextAsync() => (_next = new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

        public Task OnAsync(ConfigNotification notification)
        {
            _next.TrySetResult();
            return Task.CompletedTask;
        }

        public ValueTask DisposeAsync() => Subscription!.DisposeAsync();
    }

    /// <summary>A watch as the generated client has it.</summary>
    private sealed class Watched(BareEtcd bare, string prefix) : IDisposable
    {
        private readonly AsyncDuplexStreamingCall<WatchRequest, WatchResponse> _stream = bare.Watches.Watch();
        private volatile TaskCompletionSource _next = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public async Task StartAsync()
        {
            var range = Txn.Range(prefix);
            await _stream.RequestStream.WriteAsync(new WatchRequest { CreateRequest = new WatchCreateRequest { Key = range.Key, RangeEnd = range.RangeEnd } });
            await _stream.ResponseStream.MoveNext(CancellationToken.None);
            _ = Task.Run(ReadAsync);
        }

        public Task NextAsync() => (_next = new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;

        public void Dispose() => _stream.Dispose();

        private async Task ReadAsync()
        {
            try
            {
                await foreach (var _ in _stream.ResponseStream.ReadAllAsync())
                    _next.TrySetResult();
            }
            catch (RpcException)
            {
                // It is disposed.
            }
        }
    }
}
