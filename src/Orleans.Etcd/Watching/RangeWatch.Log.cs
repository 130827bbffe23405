using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class RangeWatch
{
    private static partial class Log
    {
        [LoggerMessage(40, LogLevel.Debug, "Watch on {Prefix} reads the whole range")]
        public static partial void Reading(ILogger logger, string prefix);

        [LoggerMessage(41, LogLevel.Information, "Watch on {Prefix} ended at {Endpoint} ({Reason}); opening it again after revision {Revision}")]
        public static partial void Reopening(ILogger logger, string prefix, Uri? endpoint, string reason, long revision);

        [LoggerMessage(45, LogLevel.Debug, "Watch on {Prefix} could not be opened again at {Endpoint} ({Reason})")]
        public static partial void StillReopening(ILogger logger, string prefix, Uri? endpoint, string reason);

        [LoggerMessage(42, LogLevel.Warning, "Watch on {Prefix} cannot reach etcd, what it knows may be old; it goes on trying")]
        public static partial void Failing(ILogger logger, Exception exception, string prefix);

        [LoggerMessage(46, LogLevel.Warning, "Watch on {Prefix} could not read it from etcd yet; it goes on trying. {Reason}")]
        public static partial void NotYetRead(ILogger logger, string prefix, string reason);

        [LoggerMessage(43, LogLevel.Warning, "Watch on {Prefix}: etcd was restored or replaced, revision {Old} is followed by {New}; everything was read anew")]
        public static partial void Restored(ILogger logger, string prefix, long old, long @new);

        [LoggerMessage(44, LogLevel.Information, "Watch on {Prefix} is up to date again at revision {Revision}")]
        public static partial void Recovered(ILogger logger, string prefix, long revision);
    }
}
