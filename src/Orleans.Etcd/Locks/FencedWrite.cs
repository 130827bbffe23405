using System.Globalization;
using Etcdserverpb;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>
/// Writes to etcd that an overtaken holder of a lock cannot make, however long it was frozen: in the transaction that writes,
/// etcd itself compares the holder's token with the highest that it has seen.
/// </summary>
/// <remarks>
/// <para>Invariant: of two writes under one fence that were applied, the later has a token that is not lower. It needs no
/// clock and no lease. It holds if all who write those keys do so through the same fence, with tokens of the same lock.</para>
/// <para>A fence knows the tokens that have written. Who reads, and writes what follows from it, raises the fence first, by
/// <see cref="TxnAsync"/> without operations: what was read after that, no earlier holder can change.</para>
/// <para>The highest token is kept at <c>{KeyPrefix}/fences/{name}</c> for good, so that a fence outlives the lock's holders.
/// Fences belong to no service: where services share etcd, put the service into the name. Permits of a semaphore, which
/// several hold at once, cannot be fenced against each other.</para>
/// <example><code>
/// await using var held = await locks.GetLock("invoice-42").AcquireAsync(cancellationToken);
/// if (!await FencedWrite.PutAsync(etcd, "invoice-42", held.FencingToken, "app/invoices/42", invoice, cancellationToken))
///     throw new InvalidOperationException("Somebody has taken over.");
/// </code></example>
/// </remarks>
public static class FencedWrite
{
    private const int MaxOperations = 127;

    /// <summary>Writes one key, unless a higher token was seen.</summary>
    /// <param name="etcd">The connection.</param>
    /// <param name="fence">What the tokens are for, such as the lock's name; 1 to 1,024 characters.</param>
    /// <param name="token">The holder's <see cref="ILockHandle.FencingToken"/>.</param>
    /// <param name="key">The key, as it is.</param>
    /// <param name="value">The value; at most 1.5 MiB less some bytes.</param>
    /// <param name="cancellationToken">Ends the wait; the write may still be applied.</param>
    /// <returns>Whether it was written; false: somebody with a higher token has written before.</returns>
    /// <exception cref="EtcdException">The write failed, or its outcome is unknown; then it may be repeated.</exception>
    public static Task<bool> PutAsync(EtcdConnection etcd, string fence, long token, string key, ReadOnlyMemory<byte> value, CancellationToken cancellationToken = default)
    {
        ArgumentException.ThrowIfNullOrEmpty(key);
        return TxnAsync(etcd, fence, token, [Txn.Put(ByteString.CopyFromUtf8(key), ByteString.CopyFrom(value.Span))], cancellationToken);
    }

    /// <summary>Runs operations in one transaction, unless a higher token was seen.</summary>
    /// <param name="etcd">The connection.</param>
    /// <param name="fence">What the tokens are for, such as the lock's name; 1 to 1,024 characters.</param>
    /// <param name="token">The holder's <see cref="ILockHandle.FencingToken"/>.</param>
    /// <param name="operations">At most 127.</param>
    /// <param name="cancellationToken">Ends the wait; the transaction may still be applied.</param>
    /// <returns>Whether it was run; false: somebody with a higher token has written before.</returns>
    /// <exception cref="EtcdException">The transaction failed, or its outcome is unknown.</exception>
    public static async Task<bool> TxnAsync(EtcdConnection etcd, string fence, long token, IEnumerable<RequestOp> operations, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(etcd);
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(token, 0);
        ArgumentOutOfRangeException.ThrowIfEqual(token, long.MaxValue);
        ArgumentNullException.ThrowIfNull(operations);
        var key = ByteString.CopyFromUtf8(EtcdKeys.Fence(etcd.Options.KeyPrefix, fence));
        RequestOp[] all = [Txn.Put(key, Value(token)), .. operations];
        if (all.Length > MaxOperations + 1)
            throw new ArgumentException($"{all.Length - 1} operations; etcd takes {MaxOperations} beside the fence's own.", nameof(operations));
        while (true)
        {
            var txn = new TxnRequest { Compare = { Txn.ValueIsLess(key, Value(token + 1)) }, Failure = { Txn.Get(key) } };
            txn.Success.AddRange(all);
            var response = await etcd.TxnAsync(txn, cancellationToken).ConfigureAwait(false);
            if (response.Succeeded)
                return true;
            if (response.Responses[0].ResponseRange.Kvs.Count > 0)
                return false;
            // No value compares with that of a key that is not there: the first write of all.
            var first = new TxnRequest { Compare = { Txn.CreateRevisionIs(key, 0) } };
            first.Success.AddRange(all);
            if ((await etcd.TxnAsync(first, cancellationToken).ConfigureAwait(false)).Succeeded)
                return true;
        }
    }

    // As many digits each, so that the order of the bytes is that of the numbers.
    private static ByteString Value(long token) => ByteString.CopyFromUtf8(token.ToString("x16", CultureInfo.InvariantCulture));
}
