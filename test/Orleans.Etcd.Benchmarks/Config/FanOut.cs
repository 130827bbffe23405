using System.Diagnostics;
using Microsoft.Extensions.Logging.Abstractions;
using Orleans.Utilities;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Many observers of one namespace in one client: from the commit until the last one is told; beside Orleans' own ObserverManager, one after another as its Notify tells them, and all at once.</summary>
internal sealed class FanOut(Contest contest, ConfigHosts hosts)
{
    private const int Changes = 5;

    public async Task RunAsync(int[] counts, CancellationToken cancellationToken)
    {
        foreach (var count in counts)
        {
            var (name, told, known) = ($"fan-out-{count}", new Everybody(count), new Everybody(count));
            var config = hosts.Client.GetGrain<IConfigGrain>(name);
            var crowd = hosts.Client.GetGrain<ICrowdGrain>(count);
            var observers = Enumerable.Range(0, count).Select(_ => new Observer(told, known)).ToArray();
            // Nobody but we hold them.
            IConfigObserver[] references = [.. observers.Select(hosts.Client.CreateObjectReference<IConfigObserver>)];
            await Task.WhenAll(observers.Select(observer => crowd.Join(hosts.Client.CreateObjectReference<ICrowdObserver>(observer))));

            // A change that comes before an observer's first snapshot is in that, and never told.
            await known.TimeAsync("", () => Task.WhenAll(references.Select(reference => config.Subscribe(reference))), cancellationToken);
            List<double> ours = [], inTurn = [], atOnce = [];
            for (var round = -1; round < contest.Settings.Rounds; round++)
            {
                // Anew, since they are told for a minute only.
                await Task.WhenAll(references.Select(reference => config.Subscribe(reference)));
                List<double> ourTimes = [], inTurnTimes = [], atOnceTimes = [];
                for (var change = 0; change < Changes; change++)
                {
                    var news = $"{round} {change}";
                    ourTimes.Add(await told.TimeAsync(news, () => config.Set("a", news), cancellationToken));
                    inTurnTimes.Add(await told.TimeAsync(news + " in turn", () => crowd.Tell(news + " in turn"), cancellationToken));
                    atOnceTimes.Add(await told.TimeAsync(news + " at once", () => crowd.TellAtOnce(news + " at once"), cancellationToken));
                }

                if (round < 0)
                    continue;
                ours.Add(Figure.Median(ourTimes));
                inTurn.Add(Figure.Median(inTurnTimes));
                atOnce.Add(Figure.Median(atOnceTimes));
            }

            contest.Add(name, "last_told_ms", "observers", "ObserverManager.Notify", ours, inTurn);
            contest.Add(name, "last_told_ms", "observers", "ObserverManager, all at once", ours, atOnce);
            foreach (var observer in observers)
                GC.KeepAlive(observer);
        }
    }

    /// <summary>Counts down until everybody was told of one piece of news; who is told twice counts once.</summary>
    private sealed class Everybody(int count)
    {
        private string? _news;
        private int _missing;
        private TaskCompletionSource _all = new();

        /// <param name="news">What somebody is told.</param>
        /// <param name="last">What the same one was told before.</param>
        public void Told(string news, ref string? last)
        {
            if (news != Volatile.Read(ref _news) || Interlocked.Exchange(ref last, news) == news)
                return;
            if (Interlocked.Decrement(ref _missing) == 0)
                _all.TrySetResult();
        }

        public async Task<double> TimeAsync(string news, Func<Task> tell, CancellationToken cancellationToken)
        {
            _all = new(TaskCreationOptions.RunContinuationsAsynchronously);
            Volatile.Write(ref _missing, count);
            Volatile.Write(ref _news, news);
            var clock = Stopwatch.GetTimestamp();
            await tell();
            await _all.Task.WaitAsync(TimeSpan.FromSeconds(60), cancellationToken);
            return Stopwatch.GetElapsedTime(clock).TotalMilliseconds;
        }
    }

    private sealed class Observer(Everybody told, Everybody known) : IConfigObserver, ICrowdObserver
    {
        private string? _told;
        private string? _known;

        public Task OnConfig(ConfigNotification notification)
        {
            if (notification.Snapshot is not null)
                known.Told("", ref _known);
            foreach (var change in notification.Changes)
                told.Told(change.New!.Text, ref _told);
            return Task.CompletedTask;
        }

        public Task OnNews(string news)
        {
            told.Told(news, ref _told);
            return Task.CompletedTask;
        }
    }
}

/// <summary>Observers as Orleans' documentation keeps them.</summary>
internal interface ICrowdGrain : IGrainWithIntegerKey
{
    Task Join(ICrowdObserver observer);

    /// <summary>One after another: ObserverManager awaits each.</summary>
    Task Tell(string news);

    Task TellAtOnce(string news);
}

internal interface ICrowdObserver : IGrainObserver
{
    Task OnNews(string news);
}

internal sealed class CrowdGrain : Grain, ICrowdGrain
{
    private readonly ObserverManager<ICrowdObserver> _observers = new(TimeSpan.FromHours(1), NullLogger.Instance);

    public Task Join(ICrowdObserver observer)
    {
        _observers.Subscribe(observer, observer);
        return Task.CompletedTask;
    }

    public Task Tell(string news) => _observers.Notify(observer => observer.OnNews(news));

    public Task TellAtOnce(string news) => Task.WhenAll(_observers.Select(observer => observer.OnNews(news)));
}
