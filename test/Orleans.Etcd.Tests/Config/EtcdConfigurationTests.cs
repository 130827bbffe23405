using System.Text;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Hosting;
using Orleans.Etcd.Tests.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Config;

/// <summary><c>IConfiguration</c> from a real etcd.</summary>
public sealed class EtcdConfigurationTests(SharedEtcd35 etcd) : IClassFixture<SharedEtcd35>, IAsyncLifetime
{
    private readonly string _prefix = etcd.NewPrefix();
    private readonly string _file = Path.Combine(Path.GetTempPath(), $"orleans-etcd-{Guid.NewGuid():N}.json");
    private readonly RecordedLog _log = new();
    private EtcdConnection _etcd = null!;

    public Task InitializeAsync()
    {
        _etcd = etcd.Server.Connect();
        return Task.CompletedTask;
    }

    public async Task DisposeAsync()
    {
        await _etcd.DisposeAsync();
        File.Delete(_file);
    }

    [Fact]
    public async Task Keys_BecomeSections_AndJsonIsTakenApartWhereAskedFor()
    {
        await PutAsync("a", "1");
        await PutAsync("Limits/Max/Open", "2");
        await PutAsync("/leading", "3");
        await PutAsync("json", """{ "deep": { "list": [ 1, true, null, "x" ] }, "empty": {} }""");
        await PutAsync("broken", "{ secret");
        // JSON, but no text.
        await PutAsync("half", """{ "icon": "\ud83d" }""");
        await PutAsync("text", "plain");
        using var flat = Build(options => options.Layers.Add(new EtcdConfigurationLayer(_prefix)));
        Assert.Equal(["1", "2", "3", "plain", "{ secret"], new[] { "a", "limits:max:open", "leading", "text", "broken" }.Select(key => flat[key]));
        Assert.StartsWith("{ \"deep\"", flat["json"]);
        using var parsed = Build(options => options.Layers.Add(new EtcdConfigurationLayer(_prefix) { ParseJson = true, Section = "App:Etcd" }));
        Assert.Equal(["1", "2", "1", "True", "x", "plain"], new[] { "a", "Limits:Max:Open", "json:deep:list:0", "json:deep:list:1", "json:deep:list:3", "text" }.Select(key => parsed[$"App:Etcd:{key}"]));
        Assert.Null(parsed["App:Etcd:broken"]);
        Assert.Null(parsed["App:Etcd:half:icon"]);
        Assert.Null(parsed["a"]);
        Assert.Contains(_log.Lines, line => line.Contains($"{_prefix}broken", StringComparison.Ordinal));
        Assert.DoesNotContain(_log.Lines, line => line.Contains("secret", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Layers_TheLastOneCounts_AndOverlaysApplyToWhomTheyAreFor()
    {
        await PutAsync("defaults/a", "default");
        await PutAsync("defaults/b", "default");
        await PutAsync("service/b", "service");
        await PutAsync("service/.overlays/eu/.rule", """{ "labels": { "zone": "eu" } }""");
        await PutAsync("service/.overlays/eu/c", "eu");
        using var eu = Build(options => Layers(options).Labels["zone"] = "eu");
        using var us = Build(options => Layers(options).Labels["zone"] = "us");
        Assert.Equal(["default", "service", "eu"], new[] { "a", "b", "c" }.Select(key => eu[key]));
        Assert.Null(us["c"]);
        await _etcd.DeleteAsync($"{_prefix}service/b");
        await Eventually.IsTrueAsync(() => eu["b"] == "default", "what lies under it comes back");
    }

    [Fact]
    public async Task Change_ReachesAnOptionsMonitor_OnceARevision_AndNotWhereNothingIsDifferent()
    {
        await PutAsync("defaults/Limits/MaxOpen", "1");
        var builder = Host.CreateEmptyApplicationBuilder(new());
        builder.Configuration.AddEtcd(options => Layers(Options(options)));
        builder.Services.Configure<Limits>(builder.Configuration.GetSection("Limits"));
        using var host = builder.Build();
        var monitor = host.Services.GetRequiredService<IOptionsMonitor<Limits>>();
        var changes = 0;
        using var listening = monitor.OnChange(_ => Interlocked.Increment(ref changes));
        Assert.Equal(1, monitor.CurrentValue.MaxOpen);

        await _etcd.TxnAsync(new Etcdserverpb.TxnRequest { Success = { Put("defaults/Limits/MaxOpen", "2"), Put("service/Limits/Name", "x"), Put("service/Limits/MaxOpen", "3") } });
        await Eventually.IsTrueAsync(() => monitor.CurrentValue is { MaxOpen: 3, Name: "x" }, "it is reloaded");
        // Hidden by the layer above it, the same as before, and gone again at once.
        await PutAsync("defaults/Limits/MaxOpen", "4");
        await PutAsync("service/Limits/MaxOpen", "3");
        await Task.Delay(500);
        Assert.Equal(1, changes);
        await PutAsync("service/Limits/MaxOpen", "5");
        await Eventually.IsTrueAsync(() => monitor.CurrentValue.MaxOpen == 5, "it is reloaded");
        Assert.Equal(2, changes);
    }

    [Fact]
    public async Task ListenerThatThrows_StopsNothing()
    {
        await PutAsync("a", "1");
        using var configuration = Build(options => options.Layers.Add(new EtcdConfigurationLayer(_prefix)));
        using var listening = Microsoft.Extensions.Primitives.ChangeToken.OnChange(configuration.GetReloadToken, () => throw new InvalidOperationException("of a user's"));
        for (var i = 2; i < 5; i++)
        {
            await PutAsync("a", $"{i}");
            await Eventually.IsTrueAsync(() => configuration["a"] == $"{i}", "it is reloaded");
        }
    }

    [Fact]
    public async Task OptionsThatAreRefusedOnReload_StayAsTheyWere_AndTheLogDoesNotQuoteThem()
    {
        await PutAsync("Limits/MaxOpen", "1");
        var builder = Host.CreateEmptyApplicationBuilder(new());
        builder.Configuration.AddEtcd(options =>
        {
            Options(options).Layers.Add(new EtcdConfigurationLayer(_prefix));
            options.LastKnownGoodFile = _file;
        });
        builder.Services.AddOptions<Limits>().Bind(builder.Configuration.GetSection("Limits")).Validate(limits => limits.MaxOpen < 100);
        using var host = builder.Build();
        var monitor = host.Services.GetRequiredService<IOptionsMonitor<Limits>>();
        Assert.Equal(1, monitor.CurrentValue.MaxOpen);
        foreach (var bad in new[] { "666", "s3cret" })
        {
            var refused = _log.Lines.Count(line => line.Contains("was refused", StringComparison.Ordinal));
            await PutAsync("Limits/MaxOpen", bad);
            await Eventually.IsTrueAsync(() => _log.Lines.Count(line => line.StartsWith("Error", StringComparison.Ordinal) && line.Contains("was refused", StringComparison.Ordinal)) > refused, "it is refused");
            Assert.Equal(1, monitor.CurrentValue.MaxOpen);
            Assert.DoesNotContain(bad, await File.ReadAllTextAsync(_file));
            // Nor does one that starts now take it for good before anybody has.
            using var restarted = Build(options =>
            {
                options.Layers.Add(new EtcdConfigurationLayer(_prefix));
                options.LastKnownGoodFile = _file;
            });
            Assert.Equal(bad, restarted["Limits:MaxOpen"]);
            Assert.DoesNotContain(bad, await File.ReadAllTextAsync(_file));
        }

        await PutAsync("Limits/MaxOpen", "2");
        await Eventually.IsTrueAsync(() => monitor.CurrentValue.MaxOpen == 2, "it goes on");
        Assert.DoesNotContain(_log.Lines, line => line.Contains("s3cret", StringComparison.Ordinal) || line.Contains("666", StringComparison.Ordinal));
    }

    [Fact]
    public async Task EtcdDownAtStart_WithoutAFile_FailsInTime_OrStartsEmptyWhereOptional()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await server.KillAsync();
        var failure = Assert.Throws<InvalidOperationException>(() => Build(options => options.Layers.Add(new EtcdConfigurationLayer("app/")), server, TimeSpan.FromSeconds(1)));
        Assert.Contains(server.Endpoint.Authority, failure.Message);
        using var optional = Build(
            options =>
            {
                options.Layers.Add(new EtcdConfigurationLayer("app/"));
                options.Optional = true;
            },
            server,
            TimeSpan.FromSeconds(1));
        Assert.Null(optional["a"]);
        await server.RestartAsync();
        await using var direct = server.Connect();
        await direct.PutAsync("app/a", "1");
        await Eventually.IsTrueAsync(() => optional["a"] == "1", "it is read at last");
    }

    [Fact]
    public async Task EtcdDownAtStart_WithAFile_StartsStale_AndIsLiveLater()
    {
        await using var server = await EtcdServer.StartAsync(new() { BinaryPath = etcd.BinaryPath });
        await using var direct = server.Connect();
        await direct.PutAsync("app/a", "1");
        await direct.PutAsync("app/ünïcode/zz", "ä");
        await direct.PutAsync("app/ünïcode/a-b", "{");
        using (var first = Build(WithFile, server))
        {
            await direct.PutAsync("app/a", "2");
            await Eventually.IsTrueAsync(() => first["a"] == "2" && File.ReadAllText(_file).Contains("\"2\"", StringComparison.Ordinal), "it is reloaded and kept");
        }

        if (!OperatingSystem.IsWindows())
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_file));
        await server.KillAsync();
        using var second = Build(WithFile, server, TimeSpan.FromSeconds(1));
        Assert.Equal(["2", "ä", "{"], new[] { "a", "ünïcode:zz", "ünïcode:a-b" }.Select(key => second[key]));
        Assert.Contains(_log.Lines, line => line.StartsWith("Warning", StringComparison.Ordinal) && line.Contains("STALE", StringComparison.Ordinal));
        await server.RestartAsync();
        await direct.DeleteAsync("app/a");
        await Eventually.IsTrueAsync(() => second["a"] is null, "it is live again");
        // It keeps what it has loaded a moment later, which is not to mend what is damaged below.
        await Eventually.IsTrueAsync(() => !File.ReadAllText(_file).Contains("\"a\"", StringComparison.Ordinal), "it is kept");

        // One that is damaged is not used.
        await server.KillAsync();
        foreach (var damage in new[] { File.ReadAllText(_file).Replace("ä", "b", StringComparison.Ordinal).Replace("\\u00E4", "b", StringComparison.Ordinal), "{", "", "null", "{}" })
        {
            await File.WriteAllTextAsync(_file, damage, Encoding.UTF8);
            Assert.Throws<InvalidOperationException>(() => Build(WithFile, server, TimeSpan.FromMilliseconds(200)));
        }

        void WithFile(EtcdConfigurationOptions options)
        {
            options.Layers.Add(new EtcdConfigurationLayer("app/"));
            options.LastKnownGoodFile = _file;
        }
    }

    [Fact]
    public async Task FileThatCannotBeWritten_IsSaidOnce_UntilItCan()
    {
        var folder = $"{_file}.d";
        var file = Path.Combine(folder, "config.json");
        using var configuration = Build(options =>
        {
            options.Layers.Add(new EtcdConfigurationLayer(_prefix));
            options.LastKnownGoodFile = file;
        });
        try
        {
            foreach (var change in new[] { "1", "2", "3" })
                await ChangeAsync(change);
            await Eventually.IsTrueAsync(() => Said() == 1, "it is said");
            Directory.CreateDirectory(folder);
            await ChangeAsync("4");
            await Eventually.IsTrueAsync(() => File.Exists(file), "it is kept");
            Directory.Delete(folder, recursive: true);
            await ChangeAsync("5");
            await Eventually.IsTrueAsync(() => Said() == 2, "it is said again");
        }
        finally
        {
            if (Directory.Exists(folder))
                Directory.Delete(folder, recursive: true);
        }

        async Task ChangeAsync(string value)
        {
            await PutAsync("a", value);
            await Eventually.IsTrueAsync(() => configuration["a"] == value, "it is reloaded");
        }

        int Said() => _log.Lines.Count(line => line.Contains("could not be kept", StringComparison.Ordinal));
    }

    [Fact]
    public void BadOptions_AreRefusedTogetherByName()
    {
        var message = Assert.Throws<OrleansConfigurationException>(() => new ConfigurationBuilder().AddEtcd(options =>
        {
            options.StartupTimeout = TimeSpan.Zero;
            options.ReloadDelay = TimeSpan.FromHours(1);
            options.InstanceName = "";
            options.LastKnownGoodFile = Path.GetTempPath();
            options.Layers.Add(new EtcdConfigurationLayer("no-slash"));
        })).Message;
        foreach (var option in new[] { "EtcdOptions.Endpoints", "StartupTimeout", "ReloadDelay", "InstanceName", "LastKnownGoodFile", "'no-slash'" })
            Assert.Contains(option, message);
        Assert.Contains("Layers is empty", Assert.Throws<OrleansConfigurationException>(() => new ConfigurationBuilder().AddEtcd(options => options.Etcd.Endpoints.Add("http://127.0.0.1:1"))).Message);
    }

    [Fact]
    public async Task ShortForm_ReadsOnePrefix()
    {
        await PutAsync("a/b", "1");
        var configuration = new ConfigurationBuilder().AddEtcd($"{etcd.Server.Endpoint}; {etcd.Server.Endpoint}", _prefix).Build();
        using var _ = (IDisposable)configuration;
        Assert.Equal("1", configuration["a:b"]);
        ((IConfigurationRoot)configuration).Reload();
        Assert.Equal("1", configuration["a:b"]);
    }

    private EtcdConfigurationOptions Layers(EtcdConfigurationOptions options)
    {
        options.Layers.Add(new EtcdConfigurationLayer($"{_prefix}defaults/"));
        options.Layers.Add(new EtcdConfigurationLayer($"{_prefix}service/"));
        return options;
    }

    private EtcdConfigurationOptions Options(EtcdConfigurationOptions options, EtcdServer? server = null)
    {
        (server ?? etcd.Server).Configure(options.Etcd);
        options.LoggerFactory = LoggerFactory.Create(logging => logging.AddProvider(_log));
        return options;
    }

    private ConfigurationRoot Build(Action<EtcdConfigurationOptions> configure, EtcdServer? server = null, TimeSpan? timeout = null) =>
        (ConfigurationRoot)new ConfigurationBuilder().AddEtcd(options =>
        {
            options.StartupTimeout = timeout ?? options.StartupTimeout;
            configure(Options(options, server));
        }).Build();

    private Etcdserverpb.RequestOp Put(string key, string value) => Txn.Put(Connections.Bytes(_prefix + key), Connections.Bytes(value));

    private Task PutAsync(string key, string value) => _etcd.PutAsync(_prefix + key, value);

    private sealed class Limits
    {
        public int MaxOpen { get; set; }

        public string? Name { get; set; }
    }
}
