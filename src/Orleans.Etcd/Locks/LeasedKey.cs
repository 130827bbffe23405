using Etcdserverpb;
using Google.Protobuf;
using Orleans.Configuration;

namespace Orleans.Etcd;

/// <summary>
/// The key of one resource, which hangs on the lease of whoever holds it. Thread safe.
/// </summary>
/// <remarks>
/// Invariant: nobody is told that the resource is his unless etcd has shown the key on his lease, and no lease is touched
/// on which it was not seen. A lease on which nothing came to hang is revoked, or expires where etcd cannot be reached.
/// </remarks>
internal sealed class LeasedKey(EtcdConnection etcd, string key)
{
    private static readonly string Owner = new EtcdLockOptions().Owner;

    private readonly ByteString _key = ByteString.CopyFromUtf8(key);

    /// <summary>Takes the resource with a new lease of this id; null where it is somebody's.</summary>
    /// <exception cref="EtcdException">It was not taken. If even the revocation fails, it is free when the lease has expired.</exception>
    public async Task<LeaseTerm?> TryTakeAsync(long lease, TimeSpan duration)
    {
        // A lease for what is taken would have to be revoked again, and most of what is asked for is taken.
        if (await LeaseAsync().ConfigureAwait(false) is not null)
            return null;
        var (start, sent) = (etcd.Time.GetUtcNow(), etcd.Time.GetTimestamp());
        var taken = false;
        try
        {
            await etcd.GrantAsync(new LeaseGrantRequest { ID = lease, TTL = (long)Math.Ceiling(duration.TotalSeconds) }, CancellationToken.None).ConfigureAwait(false);
            if (!await TryCreateAsync(lease, start).ConfigureAwait(false))
                return null;
            var term = Term("LeaseGrant", start, sent, duration);
            taken = true;
            return term;
        }
        finally
        {
            // Nobody waits for it. It also keeps a create that is still on its way from being applied, unless a grant that is still on its way comes in between: then it is
            // free when that lease expires.
            if (!taken)
                _ = Detached.Run(() => RevokeQuietlyAsync(lease));
        }
    }

    /// <summary>Renews the lease; null where the resource does not hang on it any more.</summary>
    /// <exception cref="EtcdException">It is not known to be renewed, and may have been.</exception>
    public async Task<LeaseTerm?> RenewAsync(long lease, TimeSpan duration)
    {
        // Before it is renewed: a wrong token could be the lease of something else. One that ends in between says so itself.
        if (await LeaseAsync().ConfigureAwait(false) != lease)
            return null;
        var (start, sent) = (etcd.Time.GetUtcNow(), etcd.Time.GetTimestamp());
        var ttl = await etcd.RenewOnceAsync(lease, CancellationToken.None).ConfigureAwait(false);
        return ttl > TimeSpan.Zero ? Term("LeaseKeepAlive", start, sent, duration < ttl ? duration : ttl) : null;
    }

    /// <summary>Revokes the lease if the resource hangs on it.</summary>
    /// <exception cref="EtcdException">It is not known to be revoked; at the latest it expires.</exception>
    public async Task ReleaseAsync(long lease)
    {
        if (await LeaseAsync().ConfigureAwait(false) != lease)
            return;
        try
        {
            await etcd.Leases.RevokeAsync(lease, CancellationToken.None).ConfigureAwait(false);
        }
        catch (EtcdException exception) when (exception.OutcomeUnknown)
        {
            if (await LeaseAsync().ConfigureAwait(false) == lease)
                throw;
        }
    }

    private async Task<bool> TryCreateAsync(long lease, DateTimeOffset since)
    {
        var txn = new TxnRequest
        {
            Compare = { Txn.CreateRevisionIs(_key, 0) },
            Success = { Txn.Put(_key, new SessionValue { Owner = Owner, Since = since }.Encode(), lease) },
            Failure = { Txn.Get(_key) },
        };
        try
        {
            var response = await etcd.TxnRepeatablyAsync(txn, CancellationToken.None).ConfigureAwait(false);
            // Or another attempt has created it, whose answer was lost or is not there yet.
            return response.Succeeded || response.Responses[0].ResponseRange.Kvs.Any(kv => kv.Lease == lease);
        }
        catch (EtcdException exception) when (exception.OutcomeUnknown)
        {
            if (await LeaseAsync().ConfigureAwait(false) == lease)
                return true;
            throw;
        }
    }

    /// <summary>The lease on which the key hangs; null where there is no key.</summary>
    private async Task<long?> LeaseAsync()
    {
        var response = await etcd.RangeAsync(new RangeRequest { Key = _key, KeysOnly = true }, CancellationToken.None).ConfigureAwait(false);
        return response.Kvs.Count > 0 ? response.Kvs[0].Lease : null;
    }

    /// <summary>What is promised, counted from before etcd was asked, and so over before the lease is.</summary>
    private LeaseTerm Term(string operation, DateTimeOffset start, long sent, TimeSpan duration) => etcd.Time.GetElapsedTime(sent) < duration
        ? new LeaseTerm(start.UtcDateTime, duration)
        : throw new EtcdException(EtcdErrorCode.Timeout, operation, $"etcd at {etcd.Description} took longer to answer than the {duration.TotalSeconds:0.###} s that were asked for.", outcomeUnknown: false);

    private async Task RevokeQuietlyAsync(long lease)
    {
        try
        {
            await etcd.RevokeAsync(lease, CancellationToken.None).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is EtcdException or ObjectDisposedException)
        {
            // Never granted, or it expires. Why etcd does not answer, the caller knows already.
        }
    }
}

/// <summary>The time for which a resource is surely held.</summary>
internal readonly record struct LeaseTerm(DateTime StartTimeUtc, TimeSpan Duration);
