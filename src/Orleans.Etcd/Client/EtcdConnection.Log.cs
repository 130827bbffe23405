using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

public sealed partial class EtcdConnection
{
    private static partial class Log
    {
        [LoggerMessage(1, LogLevel.Warning, "etcd {Operation} got no answer from {Endpoint} within {Timeout}; calls go to {Next} from now on")]
        public static partial void MovedFromHung(ILogger logger, string operation, Uri endpoint, TimeSpan timeout, Uri next);

        [LoggerMessage(2, LogLevel.Information, "etcd {Operation} failed at {Endpoint} ({Code}); calls go to {Next} from now on")]
        public static partial void MovedFromFailed(ILogger logger, string operation, Uri endpoint, EtcdErrorCode code, Uri next);

        [LoggerMessage(3, LogLevel.Debug, "etcd {Operation} failed at {Endpoint} ({Code}); trying again")]
        public static partial void Retrying(ILogger logger, Exception exception, string operation, Uri endpoint, EtcdErrorCode code);

        [LoggerMessage(4, LogLevel.Debug, "etcd refused the authentication token; a new one is fetched")]
        public static partial void TokenRefused(ILogger logger);

        [LoggerMessage(5, LogLevel.Information, "{Endpoint} has kept silent for longer than {Timeout}; it is connected to anew")]
        public static partial void Reconnecting(ILogger logger, Uri endpoint, TimeSpan timeout);

        [LoggerMessage(6, LogLevel.Debug, "etcd {Operation} has no answer from {Endpoint} while others have one again; it is sent once more")]
        public static partial void Overtaken(ILogger logger, string operation, Uri endpoint);

        [LoggerMessage(7, LogLevel.Information, "etcd {Operation} is asked of {Next}, which answers again; calls go there from now on")]
        public static partial void MovedToAnswering(ILogger logger, string operation, Uri next);
    }
}
