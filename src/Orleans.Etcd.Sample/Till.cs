using System.Diagnostics;
using System.Text;

namespace Orleans.Etcd.Sample;

/// <summary>
/// The till that this program and the cashiers on the silos want to count, one at a time. Its lock belongs to the service, so
/// that its name is one that no other run of this sample uses.
/// </summary>
internal sealed class Till(IClusterClient client, EtcdConnection etcd, string name) : IAsyncDisposable
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan RetryPause = TimeSpan.FromMilliseconds(200);
    private static readonly TimeSpan CashierPatience = TimeSpan.FromSeconds(10);

    private ILockHandle? _held;

    /// <summary>Whether a cashier on this silo counts the till, with the lock's grain beside it, as who asks first has it.</summary>
    public Task<bool> CountedOnAsync(string silo, CancellationToken cancellationToken) => TryAsync(
        async () =>
        {
            var cashier = NewCashier();
            return await cashier.Silo() == silo && await cashier.Count(name, CashierPatience) > 0 && await BrokerIsWithAsync(cashier);
        },
        cancellationToken);

    /// <summary>Whether we hold the lock now, and a cashier does not get it.</summary>
    public Task<bool> HeldAsync(CancellationToken cancellationToken) => TryAsync(
        async () =>
        {
            _held ??= await client.GetLock(name).AcquireAsync(cancellationToken);
            return await NewCashier().Count(name, TimeSpan.Zero) == 0;
        },
        cancellationToken);

    /// <summary>Whether we still hold it, by our own handle and by what etcd says, under the same token.</summary>
    public Task<bool> StillHeldAsync(CancellationToken cancellationToken) => TryAsync(
        async () =>
        {
            var status = await client.GetLock(name).GetStatusAsync();
            return _held is { LostToken.IsCancellationRequested: false } && status.Holders is [var holder] && holder.Token == _held.FencingToken;
        },
        cancellationToken);

    /// <summary>Whether a cashier who waits has the lock after us, and what we write under our old token is refused then.</summary>
    public Task<bool> HandedOnAsync(CancellationToken cancellationToken) => TryAsync(
        async () =>
        {
            var waiting = NewCashier().Count(name, CashierPatience);
            await _held!.DisposeAsync();
            var next = await waiting;
            return next > _held.FencingToken
                && !await FencedWrite.PutAsync(etcd, name, _held.FencingToken, $"stadium/{name}", Encoding.UTF8.GetBytes("counted by the program"), cancellationToken);
        },
        cancellationToken);

    public ValueTask DisposeAsync() => _held?.DisposeAsync() ?? ValueTask.CompletedTask;

    private ICashier NewCashier() => client.GetGrain<ICashier>(Random.Shared.NextInt64());

    private async Task<bool> BrokerIsWithAsync(ICashier cashier)
    {
        var management = client.GetGrain<IManagementGrain>(0);
        return await management.GetActivationAddress(client.GetGrain<ILockGrain>(name)) is { } broker && broker.Equals(await management.GetActivationAddress(cashier));
    }

    /// <summary>Looks until it is so; what fails because a silo has just gone is tried again.</summary>
    private static async Task<bool> TryAsync(Func<Task<bool>> isSo, CancellationToken cancellationToken)
    {
        for (var clock = Stopwatch.StartNew(); clock.Elapsed < Limit;)
        {
            try
            {
                if (await isSo().WaitAsync(Limit - clock.Elapsed, cancellationToken))
                    return true;
            }
            catch (Exception exception) when (exception is OrleansException or EtcdException or TimeoutException)
            {
                // A silo that is gone and not yet known to be.
            }

            await Task.Delay(RetryPause, cancellationToken);
        }

        return false;
    }
}
