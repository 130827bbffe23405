using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class EtcdMembershipTable
{
    private static partial class Log
    {
        [LoggerMessage(60, LogLevel.Information, "Membership table {Prefix} is ready in etcd at {Endpoints}")]
        public static partial void Ready(ILogger logger, string prefix, string endpoints);

        [LoggerMessage(61, LogLevel.Warning, "Membership table {Prefix}: etcd cannot be used yet; trying again for up to {Remaining}. {Reason}")]
        public static partial void Waiting(ILogger logger, string prefix, TimeSpan remaining, string reason);

        [LoggerMessage(66, LogLevel.Debug, "Membership table {Prefix}: etcd still cannot be used; trying again for up to {Remaining}")]
        public static partial void StillWaiting(ILogger logger, Exception exception, string prefix, TimeSpan remaining);

        [LoggerMessage(62, LogLevel.Warning, "Membership table: the value at {Key} cannot be read and is skipped")]
        public static partial void Unreadable(ILogger logger, string key);

        [LoggerMessage(63, LogLevel.Information, "Membership table {Prefix}: removed {Count} defunct silos")]
        public static partial void CleanedUp(ILogger logger, string prefix, int count);

        [LoggerMessage(64, LogLevel.Warning, "Membership table {Prefix}: all entries were deleted")]
        public static partial void Deleted(ILogger logger, string prefix);

        [LoggerMessage(65, LogLevel.Warning, "Membership table {Prefix}: a write got no answer; finding out whether it was applied")]
        public static partial void Resolving(ILogger logger, string prefix);
    }
}
