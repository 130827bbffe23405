using System.Collections.Concurrent;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd.Tests.Hosting;

/// <summary>Everything that a host logs: messages, their arguments, scopes and exceptions.</summary>
internal sealed class RecordedLog : ILoggerProvider
{
    private readonly ConcurrentQueue<string> _lines = [];

    public IReadOnlyCollection<string> Lines => _lines;

    public ILogger CreateLogger(string categoryName) => new Logger(this, categoryName);

    public void Dispose()
    {
    }

    private static string Arguments<T>(T state) =>
        state is IEnumerable<KeyValuePair<string, object?>> arguments ? string.Join(' ', arguments) : $"{state}";

    private sealed class Logger(RecordedLog log, string category) : ILogger
    {
        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull
        {
            log._lines.Enqueue($"{category} {{ {Arguments(state)}");
            return null;
        }

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            log._lines.Enqueue($"{logLevel} {category} {formatter(state, exception)} {Arguments(state)} {exception}");
    }
}
