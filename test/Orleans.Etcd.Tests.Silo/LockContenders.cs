using Etcdserverpb;
using Google.Protobuf;
using Microsoft.Extensions.Hosting;

namespace Orleans.Etcd.Tests.Silo;

/// <summary>
/// Contends for a lock from within a silo, and writes to the standard output when it held it: <c>enter TOKEN TIME</c>, and
/// <c>exit TOKEN TIME</c> with the last time at which the handle said that it was held, in microseconds of Unix time.
/// </summary>
/// <remarks>
/// With a register it writes its token there, fenced and unfenced, for as long as it holds the lock. It looks only seldom at
/// whether it still does, as naive code would.
/// </remarks>
internal sealed class LockContenders(ILocks locks, EtcdConnection etcd, IHostApplicationLifetime lifetime, string name, int count, string register) : BackgroundService
{
    private const int WritesBetweenLooks = 20;

    public static long Now => (DateTimeOffset.UtcNow - DateTimeOffset.UnixEpoch).Ticks / TimeSpan.TicksPerMicrosecond;

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken, lifetime.ApplicationStopping);
        await Task.WhenAll(Enumerable.Range(0, count).Select(_ => Task.Run(() => ContendAsync(stop.Token), stop.Token)));
    }

    private async Task ContendAsync(CancellationToken stop)
    {
        while (!stop.IsCancellationRequested)
        {
            try
            {
                await using var held = await locks.GetLock(name).AcquireAsync(stop);
                if (register.Length > 0)
                    await WriteAsync(held, stop);
                else
                    await StayAsync(held, Console.WriteLine);
            }
            catch (Exception exception) when (!stop.IsCancellationRequested)
            {
                Console.WriteLine($"contender: {exception.GetType().Name} {exception.Message}");
                await Task.Delay(100, stop);
            }
            catch (OperationCanceledException) when (stop.IsCancellationRequested)
            {
                return;
            }
        }
    }

    /// <summary>Holds a lock for some milliseconds and says so.</summary>
    public static async Task StayAsync(ILockHandle held, Action<string> write)
    {
        // The time after the question: at some moment before it, it was held. At the end it is the other way round.
        if (held.Remaining == TimeSpan.Zero)
            return;
        var last = Now;
        write($"enter {held.FencingToken} {last}");
        for (var i = 0; i < 3; i++)
        {
            await Task.Delay(2);
            var now = Now;
            if (held.Remaining > TimeSpan.Zero)
                last = now;
        }

        write($"exit {held.FencingToken} {last}");
    }

    private async Task WriteAsync(ILockHandle held, CancellationToken stop)
    {
        var token = held.FencingToken;
        var put = new PutRequest { Key = ByteString.CopyFromUtf8($"{register}/unfenced"), Value = ByteString.CopyFromUtf8($"{token}") };
        Console.WriteLine($"writes {token}");
        while (!held.LostToken.IsCancellationRequested && !stop.IsCancellationRequested)
        {
            for (var i = 0; i < WritesBetweenLooks; i++)
            {
                await etcd.PutAsync(put, CancellationToken.None);
                if (!await FencedWrite.PutAsync(etcd, register, token, $"{register}/fenced", put.Value.Memory, CancellationToken.None))
                    Console.WriteLine($"refused {token}");
                await Task.Delay(1, CancellationToken.None);
            }
        }
    }
}
