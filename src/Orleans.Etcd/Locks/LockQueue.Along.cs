using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>
/// How a release takes an entry along: on a busy lock the two come together, and one write of etcd's does for both.
/// </summary>
/// <remarks>
/// Invariant: no transaction makes two places. Keys of one transaction have the same create_revision, so that neither
/// would be before the other, and both might be granted.
/// </remarks>
internal sealed partial class LockQueue
{
    // A lock that changes hands less often has time for two writes; and nobody's place in the queue is made later than this.
    private static readonly TimeSpan Brisk = TimeSpan.FromMilliseconds(5);

    private readonly LinkedList<Passenger> _passengers = [];
    private long? _lastRelease;

    /// <summary>Makes the place: along with the next release, where one is about to come, or by itself. Null where the session's lease is gone.</summary>
    private async Task<TxnResponse?> MakePlaceAsync(LockClaim claim, TxnRequest place)
    {
        if (TryBoard(claim.Key, place) is { } passenger)
        {
            using var timer = Detached.CreateTimer(_etcd.Time, static one => ((Passenger)one!).GetOff(), passenger);
            timer.Change(Brisk, Timeout.InfiniteTimeSpan);
            if (await passenger.Arrived.ConfigureAwait(false) is { } along)
                return along;
        }

        return await TryRunAsync(place).ConfigureAwait(false);
    }

    private Passenger? TryBoard(ByteString key, TxnRequest place)
    {
        lock (_lock)
        {
            // Who waits here says that somebody holds it, and the last release that this is not for long.
            if (_waiters.Count == 0 || _lastRelease is not { } last || _etcd.Time.GetElapsedTime(last) > Brisk)
                return null;
            var passenger = new Passenger(this, key, place);
            _passengers.AddLast(passenger);
            return passenger;
        }
    }

    /// <summary>Who has waited longest to be taken along. Under the lock.</summary>
    private Passenger? TakeAlong(ByteString released)
    {
        _lastRelease = _etcd.Time.GetTimestamp();
        // A transaction takes a key once only.
        if (_passengers.First is not { } first || first.Value.Key.Equals(released))
            return null;
        _passengers.RemoveFirst();
        return first.Value;
    }

    /// <summary>A place to be made in another's transaction.</summary>
    private sealed class Passenger(LockQueue queue, ByteString key, TxnRequest place)
    {
        private readonly TaskCompletionSource<TxnResponse?> _arrived = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public ByteString Key => key;

        public TxnRequest Place => place;

        /// <summary>The answer to its own part; null if it was not taken along, or is to find out by itself.</summary>
        public Task<TxnResponse?> Arrived => _arrived.Task;

        public void Arrive(TxnResponse? response) => _arrived.TrySetResult(response);

        /// <summary>Has waited long enough, if nobody has taken it along yet.</summary>
        public void GetOff()
        {
            bool waited;
            lock (queue._lock)
                waited = queue._passengers.Remove(this);
            if (waited)
                Arrive(null);
        }
    }
}
