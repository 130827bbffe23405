using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Makes Orleans read its membership table as soon as the watch shows that another silo has changed it.</summary>
/// <remarks>
/// Invariants. (1) A version that this silo does not know yet causes one refresh, however many events brought it, and
/// never two at a time; a version that it knows causes none. (2) Without a change nothing is read. (3) A refresh that
/// fails is tried again only while this silo is behind what the watch shows, and ever more rarely. (4) A broken watch
/// changes nothing but speed: Orleans goes on polling as it always does.
/// </remarks>
internal sealed partial class MembershipPush(EtcdMembershipTable table, IClusterMembershipService membership, ILogger logger)
{
    private static readonly TimeSpan FirstBackoff = TimeSpan.FromMilliseconds(250);
    private static readonly TimeSpan LongestBackoff = TimeSpan.FromSeconds(10);

    // Orleans reads again and again until it finds the version. It may be gone, with a table restored or deleted since.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(1);

    /// <summary>Follows the watch until it is stopped.</summary>
    public async Task RunAsync(CancellationToken stop)
    {
        RangeSnapshot? seen = null;
        while (!stop.IsCancellationRequested)
        {
            seen = await table.View.WaitAsync(snapshot => snapshot != seen, stop).ConfigureAwait(false);
            var version = new MembershipVersion(table.VersionOf(seen));
            var backoff = FirstBackoff;
            while (membership.CurrentSnapshot.Version < version && !await TryRefreshAsync(version, stop).ConfigureAwait(false))
            {
                if (await table.View.WaitAsync(snapshot => snapshot != seen, backoff, stop).ConfigureAwait(false) is not null)
                    break;
                backoff = backoff * 2 < LongestBackoff ? backoff * 2 : LongestBackoff;
            }
        }
    }

    private async Task<bool> TryRefreshAsync(MembershipVersion version, CancellationToken stop)
    {
        var outcome = "failed";
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(stop);
        limit.CancelAfter(Patience);
        try
        {
            await membership.Refresh(version, limit.Token).ConfigureAwait(false);
            Log.Refreshed(logger, version.Value);
            outcome = "ok";
            return true;
        }
        catch (Exception exception) when (!stop.IsCancellationRequested)
        {
            Log.NotRefreshed(logger, exception, version.Value);
            return false;
        }
        finally
        {
            EtcdMeter.Refreshes.Add(1, new KeyValuePair<string, object?>("outcome", outcome));
        }
    }

    private static partial class Log
    {
        [LoggerMessage(70, LogLevel.Debug, "Membership version {Version} was pushed by etcd")]
        public static partial void Refreshed(ILogger logger, long version);

        [LoggerMessage(71, LogLevel.Information, "Membership version {Version} was pushed by etcd and could not be read yet; it is tried again, and Orleans polls as always")]
        public static partial void NotRefreshed(ILogger logger, Exception exception, long version);
    }
}
