using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>
/// A logger whose providers may throw, as one does whose disk is full: that is no reason for a loop to end, or for a lease that is lost
/// not to be revoked.
/// </summary>
internal sealed class GuardedLogger(ILogger logger) : ILogger
{
    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => logger.BeginScope(state);

    public bool IsEnabled(LogLevel logLevel)
    {
        try
        {
            return logger.IsEnabled(logLevel);
        }
        catch (Exception)
        {
            return false;
        }
    }

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        try
        {
            logger.Log(logLevel, eventId, state, exception, formatter);
        }
        catch (Exception)
        {
            // There is nobody left to tell.
        }
    }
}

/// <summary>Makes loggers that do not throw.</summary>
internal static class GuardedLoggers
{
    public static ILogger Guarded(this ILogger logger) => logger as GuardedLogger ?? new GuardedLogger(logger);

    public static ILogger CreateGuarded<T>(this ILoggerFactory loggers) => loggers.CreateLogger<T>().Guarded();
}
