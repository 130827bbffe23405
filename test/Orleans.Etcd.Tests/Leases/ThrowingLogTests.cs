using Microsoft.Extensions.Logging;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Leases;

/// <summary>A log whose provider throws, as one does whose disk is full, changes nothing else.</summary>
public sealed class ThrowingLogTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task LeaseLostInAnOutage_EndsNeitherTheProcess_NorRenewals_NorWatches()
    {
        await using var proxy = TcpProxy.Start(etcd.Server.Endpoint);
        using var loggers = LoggerFactory.Create(builder => builder.SetMinimumLevel(LogLevel.Trace).AddProvider(new Throwing()));
        await using var connection = new EtcdConnection(etcd.Server.Options(proxy.Endpoint), loggers);
        await using var view = new LiveView(connection, "throwing/");
        var ttl = TimeSpan.FromSeconds(2);
        await using var lost = await connection.Leases.GrantAsync(ttl, CancellationToken.None);
        await connection.PutAsync("throwing/lost", "1", lost.Id);
        await view.WaitAsync(snapshot => snapshot.Values.Count == 1, CancellationToken.None);
        proxy.Refuse();
        await Eventually.IsTrueAsync(() => lost.Lost.IsCancellationRequested, "it is lost");
        proxy.Pass();
        await using var kept = await connection.Leases.GrantAsync(ttl, CancellationToken.None);
        await connection.PutAsync("throwing/kept", "1", kept.Id);
        await view.WaitAsync(snapshot => snapshot.Values.Keys.Select(key => key.ToStringUtf8()).SequenceEqual(["throwing/kept"]), CancellationToken.None).WaitAsync(TimeSpan.FromSeconds(10));
        await Task.Delay(ttl * 2);
        Assert.False(kept.Lost.IsCancellationRequested);
    }

    private sealed class Throwing : ILoggerProvider, ILogger
    {
        public ILogger CreateLogger(string categoryName) => this;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter) =>
            throw new IOException("No space left on device.");

        public void Dispose()
        {
        }
    }
}
