using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class LeaseKeeper
{
    private static partial class Log
    {
        [LoggerMessage(20, LogLevel.Warning, "Lease {LeaseId:x} is lost: etcd did not renew it within {Ttl}")]
        public static partial void Lost(ILogger logger, long leaseId, TimeSpan ttl);

        [LoggerMessage(24, LogLevel.Warning, "Lease {LeaseId:x} is lost: etcd says that it is gone; it was revoked, or had expired")]
        public static partial void Gone(ILogger logger, long leaseId);

        [LoggerMessage(25, LogLevel.Debug, "Lease {LeaseId:x} is left to expire: its connection is closed")]
        public static partial void Closed(ILogger logger, long leaseId);

        [LoggerMessage(21, LogLevel.Debug, "Renewals at {Endpoint} stopped; opening another stream")]
        public static partial void StreamBroken(ILogger logger, Exception? exception, Uri? endpoint);

        [LoggerMessage(22, LogLevel.Information, "Lease {LeaseId:x} could not be revoked and is left to expire")]
        public static partial void LeftToExpire(ILogger logger, Exception exception, long leaseId);

        [LoggerMessage(23, LogLevel.Error, "A callback on the loss of lease {LeaseId:x} failed")]
        public static partial void CallbackFailed(ILogger logger, Exception exception, long leaseId);
    }
}
