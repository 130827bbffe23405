using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class EtcdGatewayListProvider
{
    private static partial class Log
    {
        [LoggerMessage(76, LogLevel.Warning, "Gateway list: the value at {Key} cannot be read and is skipped")]
        public static partial void Unreadable(ILogger logger, string key);
    }
}
