using System.Globalization;
using Google.Protobuf;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Live views of one process, each of a range with one key.</summary>
internal sealed class GrowingWatches : IGrowing
{
    private const int AtOnce = 100;

    private readonly EtcdConnection _etcd;
    private readonly BareEtcd _bare;
    private readonly List<LiveView> _views = [];
    private readonly LiveView _oneMore;
    private long _writes;

    private GrowingWatches(EtcdServer server, BareEtcd bare)
    {
        _bare = bare;
        _etcd = BenchmarkEtcd.Connect(server);
        _oneMore = new LiveView(_etcd, "one-more/");
    }

    public IReadOnlyList<Contender> Operations => [new("put until one more shows it", PutAsync)];

    public static async Task<IGrowing> StartAsync(EtcdServer server, BareEtcd bare, CancellationToken cancellationToken)
    {
        var growing = new GrowingWatches(server, bare);
        await growing.PutAsync();
        return growing;
    }

    public async Task FillAsync(int count, CancellationToken cancellationToken)
    {
        foreach (var numbers in Enumerable.Range(0, count).Chunk(AtOnce))
        {
            await Task.WhenAll(numbers.Select(number => _bare.PutAsync($"many-{number}/a", "1")));
            LiveView[] views = [.. numbers.Select(number => new LiveView(_etcd, $"many-{number}/"))];
            _views.AddRange(views);
            await Task.WhenAll(views.Select(view => view.FirstAsync(cancellationToken)));
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var view in _views)
            view.Stop();
        foreach (var view in _views.Append(_oneMore))
            await view.DisposeAsync();
        await _etcd.DisposeAsync();
    }

    private async Task PutAsync()
    {
        var value = ByteString.CopyFromUtf8((++_writes).ToString(CultureInfo.InvariantCulture));
        var seen = _oneMore.WaitAsync(snapshot => snapshot.Values.Values.Any(kv => kv.Value.Equals(value)), CancellationToken.None);
        await _bare.PutAsync("one-more/a", value.ToStringUtf8());
        await seen.WaitAsync(TimeSpan.FromSeconds(30));
    }
}
