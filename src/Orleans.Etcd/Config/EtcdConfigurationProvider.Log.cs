using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class EtcdConfigurationProvider
{
    private static partial class Log
    {
        [LoggerMessage(130, LogLevel.Warning, "Configuration could not be read from etcd; it is STALE, as it was last known on {At}")]
        public static partial void Stale(ILogger logger, Exception exception, DateTimeOffset at);

        [LoggerMessage(131, LogLevel.Warning, "Configuration could not be read from etcd, and none was kept; it is empty until etcd can be read")]
        public static partial void Nothing(ILogger logger, Exception exception);

        [LoggerMessage(132, LogLevel.Information, "Configuration is read from etcd and up to date")]
        public static partial void Live(ILogger logger);

        [LoggerMessage(133, LogLevel.Error, "Somebody who listens to configuration failed when it was reloaded: {Kinds}")]
        public static partial void ListenerFailed(ILogger logger, string kinds);

        [LoggerMessage(138, LogLevel.Error, "Configuration from etcd was refused ({Kinds}); what was in force before stays, until the next change")]
        public static partial void Refused(ILogger logger, string kinds);

        [LoggerMessage(139, LogLevel.Error, "Configuration could not be reloaded; it is tried again at the next change")]
        public static partial void NotReloaded(ILogger logger, Exception exception);

        [LoggerMessage(134, LogLevel.Warning, "Configuration: the value of {Key} is no JSON and is skipped")]
        public static partial void NoJson(ILogger logger, string key);

        [LoggerMessage(137, LogLevel.Debug, "The connection for configuration was not closed in good order")]
        public static partial void NotClosed(ILogger logger, Exception exception);
    }
}
