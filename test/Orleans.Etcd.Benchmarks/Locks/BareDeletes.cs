using System.Diagnostics;
using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Deletes of single keys, one after another; the puts between them are not timed.</summary>
internal sealed class BareDeletes(BareEtcd bare)
{
    public const string Name = "bare deletes, one by one";

    private static readonly ByteString Key = ByteString.CopyFromUtf8("bare/deleted");
    private static readonly ByteString Value = ByteString.CopyFrom(new byte[100]);

    public async Task<double> PerSecondAsync(Settings settings, CancellationToken cancellationToken)
    {
        var count = settings.Operations(1000);
        var time = TimeSpan.Zero;
        for (var number = 0; number < count; number++)
        {
            await bare.KV.PutAsync(new PutRequest { Key = Key, Value = Value }, cancellationToken: cancellationToken);
            var started = Stopwatch.GetTimestamp();
            await bare.KV.DeleteRangeAsync(new DeleteRangeRequest { Key = Key }, cancellationToken: cancellationToken);
            time += Stopwatch.GetElapsedTime(started);
        }

        return count / time.TotalSeconds;
    }
}
