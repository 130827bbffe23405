using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

internal sealed partial class LivenessMonitor
{
    private static partial class Log
    {
        [LoggerMessage(80, LogLevel.Information, "The liveness lease of silo {Silo} is gone and the table does not say that it is dead; finding out")]
        public static partial void Gone(ILogger logger, SiloAddress silo);

        [LoggerMessage(81, LogLevel.Warning, "Silo {Silo} has lost its liveness lease, but answers: it stays. It has probably lost its connection to etcd, or refused connections for a while")]
        public static partial void Answered(ILogger logger, SiloAddress silo);

        [LoggerMessage(82, LogLevel.Warning, "Silo {Silo} has lost its liveness lease and was declared dead ({Reason})")]
        public static partial void Evicted(ILogger logger, SiloAddress silo, string reason);

        [LoggerMessage(83, LogLevel.Warning, "The liveness lease of silo {Silo} went together with more than half of all within {Window}: it is not judged for that unless it stays away for {Patience}")]
        public static partial void InCrowd(ILogger logger, SiloAddress silo, TimeSpan window, TimeSpan patience);

        [LoggerMessage(84, LogLevel.Information, "The liveness lease of silo {Silo} is gone, but this silo's own connection to etcd is in doubt: it does not judge yet")]
        public static partial void InDoubt(ILogger logger, SiloAddress silo);

        [LoggerMessage(85, LogLevel.Information, "The membership table could not be read after a liveness lease went; trying again")]
        public static partial void CannotLook(ILogger logger, Exception exception);

        [LoggerMessage(86, LogLevel.Warning, "Finding out about silo {Silo} failed; trying again")]
        public static partial void CannotExamine(ILogger logger, Exception exception, SiloAddress silo);

        [LoggerMessage(87, LogLevel.Warning, "Silo {Silo} has lost its liveness lease; it is reported only, Orleans' own probes decide")]
        public static partial void ReportedOnly(ILogger logger, SiloAddress silo);
    }
}
