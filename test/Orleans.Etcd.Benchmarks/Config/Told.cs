using System.Globalization;

namespace Orleans.Etcd.Benchmarks;

/// <summary>A subscription to a namespace whose values are numbers that rise, and the wait for one of them.</summary>
internal sealed class Told : IAsyncDisposable
{
    private IAsyncDisposable? _subscription;

    private Told(string name) => Name = name;

    public string Name { get; }

    public Awaited Awaited { get; } = new();

    public static Task<Told> SubscribeAsync(string name, IConfigGrain config) => SubscribeAsync(name, handler => config.SubscribeAsync(handler));

    public static async Task<Told> SubscribeAsync(string name, Func<Func<ConfigNotification, Task>, Task<IAsyncDisposable>> subscribe)
    {
        var told = new Told(name);
        told._subscription = await subscribe(told.OnAsync);
        return told;
    }

    public ValueTask DisposeAsync() => _subscription!.DisposeAsync();

    private Task OnAsync(ConfigNotification notification)
    {
        foreach (var change in notification.Changes)
            Awaited.Came(change.New!.Text);
        return Task.CompletedTask;
    }
}

/// <summary>Waits for the value of one write: what was written before it may come later than that is asked for.</summary>
internal sealed class Awaited
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
