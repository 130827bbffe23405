using System.Diagnostics;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Orleans.Configuration;
using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Sample;

/// <summary>
/// Three silos and a client; one silo leaves, one is killed, a new one joins, while calls go on, a limit is changed in etcd, and the client holds a lock.
/// Every step counts only when the cluster itself says that it has happened.
/// </summary>
internal sealed class StadiumCommand(string? endpoints, bool once)
{
    private const int Steps = 16;
    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan JoinLimit = TimeSpan.FromSeconds(40);
    private static readonly TimeSpan LeaveLimit = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan DeathLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(30);

    private readonly Stopwatch _clock = Stopwatch.StartNew();
    private readonly Dictionary<string, SiloProcess> _silos = [];
    private readonly List<(string Step, bool Seen, TimeSpan Took)> _steps = [];
    private readonly string _cluster = $"sample-{Guid.NewGuid():N}"[..15];
    private readonly string _logs = Directory.CreateTempSubdirectory("orleans-etcd-sample-").FullName;
    private string _endpoints = endpoints ?? string.Empty;
    private bool _failed;

    public async Task<int> RunAsync(CancellationToken cancellationToken)
    {
        EtcdServer? server = null;
        try
        {
            if (endpoints is null)
            {
                server = await EtcdServer.StartAsync(cancellationToken: cancellationToken);
                _endpoints = server.Endpoint.ToString();
                Show($"etcd {server.Version} started at {server.Endpoint}");
            }

            return await RunClusterAsync(cancellationToken) ? 0 : 1;
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl+C before there was anything to sum up.
            return once ? 1 : 0;
        }
        catch (EtcdServerException exception)
        {
            Console.Error.WriteLine(exception.Message);
            return 1;
        }
        finally
        {
            foreach (var silo in _silos.Values)
                await silo.DisposeAsync();
            if (server is not null)
                await server.DisposeAsync();
            if (_failed)
                Show($"the silos' logs are in {_logs}");
            else
                Directory.Delete(_logs, recursive: true);
        }
    }

    private async Task<bool> RunClusterAsync(CancellationToken cancellationToken)
    {
        Heading("Three silos join");
        foreach (var name in new[] { "silo-1", "silo-2", "silo-3" })
            StartSilo(name);
        using var host = BuildClient();
        await StepAsync("a client connected", () => ConnectAsync(host, cancellationToken));
        if (_failed)
            return false;
        var grains = host.Services.GetRequiredService<IClusterClient>();
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var board = new MembershipBoard(grains, Show);
        var calls = new CallLoop(grains);
        await using var till = new Till(grains, host.Services.GetRequiredService<EtcdConnection>(), $"till-{_cluster}");
        var running = Task.WhenAll(board.RunAsync(stop.Token), calls.RunAsync(stop.Token, cancellationToken));
        try
        {
            await StepAsync("three silos joined", () => board.SeesAsync(SiloStatus.Active, JoinLimit, cancellationToken, "silo-1", "silo-2", "silo-3"));
            await StepAsync("all three answer calls", () => AnswerAsync(calls, cancellationToken, "silo-1", "silo-2", "silo-3"));

            Heading("A limit in etcd is changed while the cluster runs");
            var gates = new Gates(grains, host.Services.GetRequiredService<EtcdConnection>(), _cluster, Show);
            await StepAsync("etcdctl closed the gates on every silo", () => gates.CloseByHandAsync(cancellationToken, "silo-1", "silo-2", "silo-3"));
            await StepAsync("a commit opened them again", () => gates.OpenByCommitAsync(cancellationToken, "silo-1", "silo-2", "silo-3"));

            Heading("silo-2 leaves gracefully (SIGTERM)");
            _silos["silo-2"].Terminate();
            await StepAsync("silo-2 ended by itself", () => _silos["silo-2"].EndsAsync(LeaveLimit, cancellationToken));
            await StepAsync("silo-2 left", () => board.SeesAsync(SiloStatus.Dead, LeaveLimit, cancellationToken, "silo-2"));
            await StepAsync("the others answer calls", () => AnswerAsync(calls, cancellationToken, "silo-1", "silo-3"));

            Heading("A lock, brokered by silo-3, keeps cashiers on the silos and this program apart");
            await StepAsync("a cashier on silo-3 held it", () => till.CountedOnAsync("silo-3", cancellationToken));
            await StepAsync("the client holds it, and no cashier gets it", () => till.HeldAsync(cancellationToken));

            Heading("silo-3 is killed (SIGKILL)");
            _silos["silo-3"].Kill();
            await StepAsync("silo-3 was declared dead", () => board.SeesAsync(SiloStatus.Dead, DeathLimit, cancellationToken, "silo-3"));
            await StepAsync("the client still holds the lock, under the same token", () => till.StillHeldAsync(cancellationToken));
            await StepAsync("a cashier has it next, and the client's late write is refused", () => till.HandedOnAsync(cancellationToken));
            await StepAsync("silo-1 answers calls", () => AnswerAsync(calls, cancellationToken, "silo-1"));

            Heading("silo-4 joins");
            StartSilo("silo-4");
            await StepAsync("silo-4 joined", () => board.SeesAsync(SiloStatus.Active, JoinLimit, cancellationToken, "silo-4"));
            await StepAsync("silo-4 answers calls", () => AnswerAsync(calls, cancellationToken, "silo-1", "silo-4"));
            if (!once)
            {
                Heading("Calls go on; Ctrl+C ends it");
                await ReportUntilCancelledAsync(calls, cancellationToken);
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // Ctrl+C: what was seen so far is summed up.
        }
        finally
        {
            await stop.CancelAsync();
            await running;
        }

        return Summarise(calls, cancellationToken);
    }

    private async Task<bool> ConnectAsync(IHost host, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(ConnectLimit);
        try
        {
            await host.StartAsync(limit.Token);
            return true;
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            // Whatever it is, a user of the sample wants to read what is wrong, and not where in the code it was noticed.
            Console.Error.WriteLine(limit.IsCancellationRequested ? $"No silo was reached through etcd at {_endpoints} within {ConnectLimit.TotalSeconds} s." : exception.Message);
            return false;
        }
    }

    private IHost BuildClient()
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.SetMinimumLevel(LogLevel.Error);
        // A start that fails is said in a line of our own.
        builder.Logging.AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
        builder.UseOrleansClient(client => client
            .UseEtcdClustering(_endpoints)
            .AddEtcdLocks()
            .Configure<ClusterOptions>(options =>
            {
                options.ServiceId = "stadium";
                options.ClusterId = _cluster;
            }));
        return builder.Build();
    }

    private void StartSilo(string name) => _silos.Add(name, SiloProcess.Start(name, _endpoints, _cluster, _logs));

    private async Task StepAsync(string step, Func<Task<bool>> happens)
    {
        var started = _clock.Elapsed;
        var seen = await happens();
        _steps.Add((step, seen, _clock.Elapsed - started));
        Show(seen ? $"seen: {step}" : $"NOT seen: {step}");
        _failed |= !seen;
    }

    /// <summary>Whether each of these silos answers a call from now on.</summary>
    private static async Task<bool> AnswerAsync(CallLoop calls, CancellationToken cancellationToken, params string[] silos)
    {
        calls.TakeSilosSeen();
        var missing = silos.ToHashSet();
        for (var waited = Stopwatch.StartNew(); missing.Count > 0 && waited.Elapsed < CallLimit;)
        {
            await Task.Delay(200, cancellationToken);
            missing.ExceptWith(calls.TakeSilosSeen());
        }

        return missing.Count == 0;
    }

    private async Task ReportUntilCancelledAsync(CallLoop calls, CancellationToken cancellationToken)
    {
        while (true)
        {
            await Task.Delay(TimeSpan.FromSeconds(5), cancellationToken);
            var (succeeded, retried, failed) = calls.Counts;
            Show($"calls: {succeeded} succeeded, {retried} retried, {failed} failed; answered by {string.Join(", ", calls.TakeSilosSeen().Order())}");
        }
    }

    private bool Summarise(CallLoop calls, CancellationToken cancellationToken)
    {
        Heading("Summary");
        foreach (var (step, seen, took) in _steps)
            Console.WriteLine($"  {(seen ? "seen" : "NOT SEEN"),-8}  {took.TotalSeconds,5:F1} s  {step}");
        var (succeeded, retried, failed) = calls.Counts;
        Console.WriteLine($"  calls: {succeeded} succeeded at once, {retried} after a retry, {failed} failed");
        _failed |= failed > 0;
        // Ctrl+C is how the one without an end ends.
        return !_failed && (_steps.Count == Steps || (!once && cancellationToken.IsCancellationRequested));
    }

    private void Heading(string text) => Console.WriteLine($"\n{text}");

    private void Show(string text) => Console.WriteLine($"  +{_clock.Elapsed.TotalSeconds,5:F1} s  {text}");
}
