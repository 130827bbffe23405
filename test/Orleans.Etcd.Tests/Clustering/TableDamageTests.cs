using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Logging;
using Xunit;

namespace Orleans.Etcd.Tests.Clustering;

/// <summary>Values that somebody else wrote or damaged are skipped, told of, counted, and never take the cluster down.</summary>
public sealed class TableDamageTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>
{
    public static TheoryData<string, string> Damage => new()
    {
        { "not JSON", "hello" },
        { "empty", "" },
        { "null", "null" },
        { "an array", "[]" },
        { "no address", """{"Status":"Active"}""" },
        { "bad address", """{"SiloAddress":"nowhere","Status":"Active"}""" },
        { "another silo's", """{"SiloAddress":"127.0.0.1:1@1","Status":"Active"}""" },
        { "a status of a later version", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Hibernating"}""" },
        { "a status out of range", """{"SiloAddress":"127.0.0.1:10002@1","Status":77}""" },
        { "a bad vote", """{"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SuspectTimes":[{"Silo":"x","Time":"2026-01-01T00:00:00Z"}]}""" },
    };

    [Theory]
    [MemberData(nameof(Damage))]
    public async Task DamagedRow_IsSkippedLoggedAndCounted(string what, string value)
    {
        Assert.NotEmpty(what);
        var log = new Lines();
        await using var cluster = await Cluster.CreateAsync(etcd, logger: log);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2));
        using var counter = new Counter("orleans.etcd.values.unreadable");
        var key = cluster.Layout.RowKey(Silos.Address(2)).ToStringUtf8();
        await cluster.Etcd.PutAsync(key, value);

        var fresh = cluster.Table(cluster.Etcd, log);
        for (var i = 0; i < 3; i++)
            Assert.Equal("silo-1", (await fresh.ReadAllAsync()).Members.Single().Item1.SiloName);
        Assert.Empty((await fresh.ReadRowAsync(Silos.Address(2))).Members);
        Assert.Single(log.Warnings, line => line.Contains(key, StringComparison.Ordinal));
        Assert.True(counter.Total > 0);
        await fresh.InsertAsync(Silos.Entry(3));
    }

    [Fact]
    public async Task RowOfALaterVersion_WithMoreFields_IsRead()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        var key = cluster.Layout.RowKey(Silos.Address(2)).ToStringUtf8();
        await cluster.Etcd.PutAsync(key, """{"New":{"a":[1]},"SiloAddress":"127.0.0.1:10002@1","Status":"Active","SiloName":"later","Other":null}""");
        Assert.Equal("later", (await cluster.First.ReadAllAsync()).Members.Single().Item1.SiloName);
    }

    [Fact]
    public async Task ForeignKeysUnderThePrefix_AreNoRows()
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1));
        foreach (var key in new[] { "notes", "silos", "silos/", "silos/x", "silos/127.0.0.1:10001@1/x", "version/x" })
            await cluster.Etcd.PutAsync(cluster.Layout.Prefix + key, """{"SiloAddress":"127.0.0.1:10001@1","Status":"Dead"}""");
        await using var later = await Cluster.CreateAsync(etcd, cluster.Options.ClusterId);
        Assert.Equal(SiloStatus.Active, (await later.First.ReadAllAsync()).Members.Single().Item1.Status);
        await later.First.InsertAsync(Silos.Entry(2));
    }

    [Theory]
    [InlineData("garbage")]
    [InlineData("")]
    [InlineData("{}")]
    public async Task DamagedVersion_DoesNotStopTheTable_AndNeverFalls(string value)
    {
        await using var cluster = await Cluster.CreateAsync(etcd);
        await cluster.First.InsertAsync(Silos.Entry(1), Silos.Entry(2), Silos.Entry(3));
        await cluster.Etcd.PutAsync(cluster.Layout.VersionKey.ToStringUtf8(), value);
        var damaged = (await cluster.Second.ReadAllAsync()).Version.Version;
        Assert.True(damaged >= 3);
        await cluster.Second.InsertAsync(Silos.Entry(4));
        Assert.Equal(damaged + 1, (await cluster.First.ReadAllAsync()).Version.Version);
        Assert.Equal(4, (await cluster.First.ReadAllAsync()).Members.Count);
    }

    private sealed class Lines : ILogger<EtcdMembershipTable>
    {
        private readonly ConcurrentQueue<string> _warnings = [];

        public IReadOnlyCollection<string> Warnings => _warnings;

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => true;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (logLevel >= LogLevel.Warning)
                _warnings.Enqueue(formatter(state, exception));
        }
    }

    private sealed class Counter : IDisposable
    {
        private readonly MeterListener _listener = new();
        private long _total;

        public Counter(string instrument)
        {
            _listener.InstrumentPublished = (published, listener) =>
            {
                if (published.Meter.Name == "Orleans.Etcd" && published.Name == instrument)
                    listener.EnableMeasurementEvents(published);
            };
            _listener.SetMeasurementEventCallback<long>((_, measured, _, _) => Interlocked.Add(ref _total, measured));
            _listener.Start();
        }

        public long Total => Interlocked.Read(ref _total);

        public void Dispose() => _listener.Dispose();
    }
}
