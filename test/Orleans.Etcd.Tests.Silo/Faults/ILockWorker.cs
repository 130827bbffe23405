using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Orleans.Configuration;
using Orleans.Placement;

namespace Orleans.Etcd.Tests.Silo;

public enum HoldKind
{
    Lock,
    Semaphore,
    Read,
    Write,
}

/// <summary>One time that something was held, by its holder's own belief, in microseconds of the machine's monotonic clock.</summary>
/// <param name="Kind">As what it was held.</param>
/// <param name="Token">Its fencing token.</param>
/// <param name="Asked">When it was asked for.</param>
/// <param name="From">When it was had.</param>
/// <param name="Until">When it was last sure to be held.</param>
/// <param name="Told">When the handle told of its loss; null if it did not.</param>
/// <param name="Ended">When its holder was done with it, before it was released.</param>
/// <param name="Where">Where its holder was: a client, or a silo by its endpoint.</param>
[GenerateSerializer]
public sealed record Hold([property: Id(0)] HoldKind Kind, [property: Id(1)] long Token, [property: Id(2)] long Asked, [property: Id(3)] long From, [property: Id(4)] long Until, [property: Id(5)] long? Told, [property: Id(6)] long Ended, [property: Id(7)] string Where);

/// <summary>What is protected by a lock, and remembers who held it.</summary>
public interface ILockLedger : IGrainObserver
{
    /// <summary>What is there; null for a token that is not the highest any more.</summary>
    Task<int[]?> Read(long token);

    /// <summary>Replaces what is there; false for a token that is not the highest any more.</summary>
    Task<bool> Write(long token, int[] elements);

    Task Held(Hold hold);

    /// <summary>A value that no other has.</summary>
    Task<int> NewElement();

    /// <summary>Whether the element was acknowledged to whoever added it.</summary>
    Task Added(int element);

    /// <summary>It could not be had, for another reason than that others had it all the time.</summary>
    Task Failed(string where, string problem);

    /// <summary>Who was to stop waiting went on.</summary>
    Task Overran(string where, TimeSpan by);
}

/// <summary>Contends for a lock from within a grain.</summary>
public interface ILockWorker : IGrainWithIntegerKey
{
    /// <summary>Works until the time has come, and answers how often it had the lock.</summary>
    Task<int> Work(HoldKind kind, string name, ILockLedger ledger, TimeSpan time, TimeSpan longest);
}

[RandomPlacement]
public sealed class LockWorker(IServiceProvider services) : Grain, ILockWorker
{
    public async Task<int> Work(HoldKind kind, string name, ILockLedger ledger, TimeSpan time, TimeSpan longest)
    {
        var locks = services.GetRequiredService<ILocks>();
        var silo = services.GetRequiredService<ILocalSiloDetails>().SiloAddress.Endpoint;
        var worker = new LockWork(LockWork.Get(locks, kind, name), kind, ledger, $"{silo}", longest);
        for (var since = Stopwatch.StartNew(); since.Elapsed < time;)
            await worker.OnceAsync(time - since.Elapsed);
        return worker.Count;
    }
}

/// <summary>Has a lock again and again, and adds an element to what it protects each time: reads all, and writes all.</summary>
/// <remarks>
/// Believes in the lock for as long as its handle says that it is held, and writes without looking again. Where it holds for
/// longer, up to <c>longest</c>, it reads at first and writes at last, however its lease may have fared meanwhile.
/// </remarks>
public sealed class LockWork(ILock @lock, HoldKind kind, ILockLedger ledger, string where, TimeSpan longest = default)
{
    public const int Permits = 2;

    /// <summary>How much later than it is asked to a wait may end.</summary>
    private static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    private static readonly TimeSpan ReleaseTimeout = new EtcdLockOptions().ReleaseTimeout;

    // Orleans loses a call to a client together with the silo that was its way there, and says so after 30 s. For so long nobody
    // is to hold a lock in which others take part.
    private static readonly TimeSpan LedgerTimeout = TimeSpan.FromSeconds(10);

    private const int LedgerAttempts = 2;

    /// <summary>How often it had the lock.</summary>
    public int Count { get; private set; }

    public static long Now => Stopwatch.GetTimestamp() / (Stopwatch.Frequency / 1_000_000);

    public static ILock Get(ILocks locks, HoldKind kind, string name) => kind switch
    {
        HoldKind.Semaphore => locks.GetSemaphore(name, Permits),
        HoldKind.Read => locks.GetReadLock(name),
        HoldKind.Write => locks.GetWriteLock(name),
        _ => locks.GetLock(name),
    };

    /// <summary>Has it once; false where it could not be had.</summary>
    public async Task<bool> OnceAsync(TimeSpan within, CancellationToken cancellationToken = default)
    {
        var asked = Now;
        ILockHandle handle;
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(within > TimeSpan.Zero ? within : TimeSpan.Zero);
        try
        {
            handle = await @lock.AcquireAsync(limit.Token);
        }
        catch (Exception exception) when (exception is EtcdException or OrleansException or TimeoutException || (exception is OperationCanceledException && limit.IsCancellationRequested))
        {
            if (exception is not OperationCanceledException)
                await ledger.Failed(where, $"{exception.GetType().Name}: {exception.Message}");
            await SeeAsync(asked, within, Now);
            await Task.Delay(20, CancellationToken.None);
            return false;
        }

        var from = Now;
        Hold hold;
        long released;
        try
        {
            hold = await HoldAsync(handle, asked, from);
        }
        finally
        {
            released = Now;
            await handle.DisposeAsync();
        }

        var freed = Now;
        await SeeAsync(asked, within, from);
        await SeeAsync(released, ReleaseTimeout, freed);
        await TellAsync(hold);
        Count++;
        // Whoever lets go stands back, so that others come to it.
        await Task.Delay(Random.Shared.Next(150), CancellationToken.None);
        return true;
    }

    /// <summary>Tells of what went on for longer than it was to.</summary>
    private async Task SeeAsync(long since, TimeSpan limit, long until)
    {
        if (TimeSpan.FromMicroseconds(until - since) is var took && took > limit + Grace)
            await ledger.Overran(where, took - limit);
    }

    /// <summary>Says that it was held; who hears it twice counts it once.</summary>
    private async Task TellAsync(Hold hold)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await ledger.Held(hold).WaitAsync(LedgerTimeout);
                return;
            }
            catch (Exception exception) when (exception is OrleansException or TimeoutException && attempt < LedgerAttempts)
            {
                // Lost, it or its answer.
            }
        }
    }

    private async Task<Hold> HoldAsync(ILockHandle handle, long asked, long from)
    {
        var told = 0L;
        await using var loss = handle.LostToken.Register(() => Interlocked.CompareExchange(ref told, Now, 0));
        var until = from;
        try
        {
            // The one that is there may have been lost by the time its caller hears of it.
            Believe();
            if (kind is HoldKind.Lock or HoldKind.Write)
                await AddAsync(handle.FencingToken, Believe);
            else
                await HoldOnAsync(Believe);
            Believe();
        }
        catch (Exception exception) when (exception is OrleansException or TimeoutException or EtcdException)
        {
            // The ledger could not be reached: whether it was written is not known to this one.
        }

        var ended = Now;
        return new Hold(kind, handle.FencingToken, asked, from, until, Volatile.Read(ref told) is var at and not 0 ? at : null, ended, where);

        void Believe()
        {
            var now = Now;
            if (handle.Remaining > TimeSpan.Zero && !handle.LostToken.IsCancellationRequested)
                until = now;
        }
    }

    /// <summary>Now and then for as long as may be, which is longer than it may be believed in after its lease is gone.</summary>
    private async Task HoldOnAsync(Action believe)
    {
        var time = longest * (Random.Shared.Next(4) == 0 ? 1 : Random.Shared.NextDouble() / 2);
        for (var since = Stopwatch.StartNew(); since.Elapsed < time; await Task.Delay(10))
            believe();
        if (kind is HoldKind.Semaphore or HoldKind.Read || Random.Shared.Next(3) == 0)
            await Task.Delay(Random.Shared.Next(1, 8));
    }

    private async Task AddAsync(long token, Action believe)
    {
        var element = await ledger.NewElement().WaitAsync(LedgerTimeout);
        if (await ledger.Read(token).WaitAsync(LedgerTimeout) is not { } elements)
            return;
        believe();
        await HoldOnAsync(believe);
        believe();
        if (await ledger.Write(token, [.. elements, element]).WaitAsync(LedgerTimeout))
            await ledger.Added(element).WaitAsync(LedgerTimeout);
    }
}
