using System.Globalization;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.LeaseProviders;

namespace Orleans.Etcd;

/// <summary>
/// Orleans' leases in etcd: each a lease of its own, with one key on it that names the resource. Nothing renews them but
/// their holder's calls. Thread safe.
/// </summary>
/// <remarks>
/// <para>A lease that was acquired or renewed ends at etcd no earlier than its duration after its start, which is taken from
/// this machine's clock before etcd is asked. One that was over by the time etcd answered is not handed out.</para>
/// <para>Survives: the loss of any member while a quorum is left, the restart of all; lost answers, because etcd is asked
/// whose the resource is. While etcd is away all calls end within a few times <see cref="EtcdOptions.RequestTimeout"/>:
/// acquiring and renewing with <see cref="ResponseCode.TransientFailure"/>, which stands for every failure of etcd, since an
/// exception would lose what was granted to the rest of the batch. What a dead holder had is free when its lease has expired.</para>
/// </remarks>
internal sealed class EtcdLeaseProvider(EtcdConnection etcd, IOptions<ClusterOptions> cluster) : ILeaseProvider
{
    private static readonly TimeSpan MaxDuration = TimeSpan.FromDays(365);

    /// <summary>Acquires what is free of the resources; a duration is rounded up to whole seconds, and etcd grants 2 s at least by default.</summary>
    /// <exception cref="ArgumentException">A name cannot be a key, or a duration is not above zero and at most 365 days. Nothing was sent.</exception>
    public Task<AcquireLeaseResult[]> Acquire(string category, LeaseRequest[] leaseRequests)
    {
        ArgumentException.ThrowIfNullOrEmpty(category);
        ArgumentNullException.ThrowIfNull(leaseRequests);
        // All are looked at before anything is sent for one.
        (LeasedKey Key, string Resource, TimeSpan Duration)[] wanted = [.. leaseRequests.Select(request => request is null
            ? throw new ArgumentException("One of the requests is null.", nameof(leaseRequests))
            : (Key(category, request.ResourceKey), request.ResourceKey, Checked(request.Duration)))];
        return Task.WhenAll(wanted.Select(one => AcquireAsync(one.Key, one.Resource, one.Duration)));
    }

    /// <summary>Renews what is still held, for its duration or what the lease was granted for, whichever is shorter.</summary>
    /// <inheritdoc cref="Acquire" path="/exception" />
    public Task<AcquireLeaseResult[]> Renew(string category, AcquiredLease[] aquiredLeases) =>
        Task.WhenAll(Held(category, aquiredLeases).Select(one => RenewAsync(one.Key, one.Resource, one.Token, one.Duration)));

    /// <summary>Releases what is still held; the rest, and what belongs to others, is left as it is. May be repeated.</summary>
    /// <inheritdoc cref="Acquire" path="/exception" />
    /// <exception cref="EtcdException">Some could not be released, although all were tried; they are free when they expire.</exception>
    public Task Release(string category, AcquiredLease[] aquiredLeases) =>
        Task.WhenAll(Held(category, aquiredLeases).Select(one => one.Token is { } token ? one.Key.ReleaseAsync(token) : Task.CompletedTask));

    private static async Task<AcquireLeaseResult> AcquireAsync(LeasedKey key, string resource, TimeSpan duration)
    {
        try
        {
            var lease = Random.Shared.NextInt64(1, long.MaxValue);
            return await key.TryTakeAsync(lease, duration).ConfigureAwait(false) is { } term
                ? Ok(resource, lease, term)
                : No(resource, ResponseCode.LeaseNotAvailable, new OrleansException($"'{resource}' is leased by another."));
        }
        catch (Exception exception) when (exception is EtcdException or ObjectDisposedException)
        {
            return No(resource, ResponseCode.TransientFailure, exception);
        }
    }

    private static async Task<AcquireLeaseResult> RenewAsync(LeasedKey key, string resource, long? token, TimeSpan duration)
    {
        try
        {
            return token is { } lease && await key.RenewAsync(lease, duration).ConfigureAwait(false) is { } term
                ? Ok(resource, lease, term)
                : No(resource, ResponseCode.InvalidToken, new OrleansException($"'{resource}' is not leased under this token, or not any more."));
        }
        catch (Exception exception) when (exception is EtcdException or ObjectDisposedException)
        {
            return No(resource, ResponseCode.TransientFailure, exception);
        }
    }

    private static AcquireLeaseResult Ok(string resource, long lease, LeaseTerm term) =>
        new(new AcquiredLease(resource, term.Duration, EtcdKeys.LeaseId(lease), term.StartTimeUtc), ResponseCode.OK, null);

    // With a lease that has no token, and not without one: the balancer reads the resource's name from it.
    private static AcquireLeaseResult No(string resource, ResponseCode code, Exception exception) => new(new AcquiredLease(resource), code, exception);

    private (LeasedKey Key, string Resource, long? Token, TimeSpan Duration)[] Held(string category, AcquiredLease[] leases)
    {
        ArgumentException.ThrowIfNullOrEmpty(category);
        ArgumentNullException.ThrowIfNull(leases);
        // What was not acquired has neither token nor duration.
        return [.. leases.Select(lease => lease is null
            ? throw new ArgumentException("One of the leases is null.", nameof(leases))
            : (Key(category, lease.ResourceKey), lease.ResourceKey, Token(lease.Token), lease.Token is null ? default : Checked(lease.Duration)))];
    }

    private LeasedKey Key(string category, string resource) => new(etcd, EtcdKeys.Lease(etcd.Options.KeyPrefix, cluster.Value.ServiceId, category, resource));

    private static TimeSpan Checked(TimeSpan duration)
    {
        ArgumentOutOfRangeException.ThrowIfLessThanOrEqual(duration, TimeSpan.Zero);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(duration, MaxDuration);
        return duration;
    }

    /// <summary>The lease that a token names; null where it can name none.</summary>
    private static long? Token(string? token) =>
        long.TryParse(token, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var lease) && lease > 0 && EtcdKeys.LeaseId(lease) == token ? lease : null;
}
