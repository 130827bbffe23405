using System.Text.Json;
using System.Text.Json.Nodes;

namespace Orleans.Etcd.Testing;

public sealed partial class EtcdServer
{
    private static readonly TimeSpan ProbeInterval = TimeSpan.FromMilliseconds(50);

    private async Task StopCoreAsync(CancellationToken cancellationToken)
    {
        if (_process is { HasExited: false } process)
        {
            process.Signal(EtcdProcess.SigTerm);
            process.Signal(EtcdProcess.SigCont);
            _paused = null;
            await process.WaitAsync(StopTimeout, cancellationToken).ConfigureAwait(false);
        }

        await KillCoreAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task KillCoreAsync(CancellationToken cancellationToken)
    {
        if (_process is not { } process) return;
        await process.KillAsync(cancellationToken).ConfigureAwait(false);
        _process = null;
        _paused = null;
    }

    /// <summary>Clients know the ports, so they cannot be changed: somebody who took one in between is waited for.</summary>
    private async Task LaunchOnFixedPortsAsync(CancellationToken cancellationToken)
    {
        for (var start = Environment.TickCount64; ;)
        {
            try
            {
                await LaunchAsync(cancellationToken).ConfigureAwait(false);
                return;
            }
            catch (EtcdServerException exception)
                when (exception.AddressInUse && Environment.TickCount64 - start < _options.StartTimeout.TotalMilliseconds)
            {
                await Task.Delay(ProbeInterval, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    private async Task LaunchAsync(CancellationToken cancellationToken)
    {
        var logged = _log.Length;
        var arguments = _member.Arguments(DataDirectory, Endpoint, MetricsEndpoint, _options, _certificates);
        var process = await EtcdProcess.StartAsync(EtcdCommand.Create([.. _member.Place.Prefix, _binary, .. arguments], LogFile)).ConfigureAwait(false);
        _process = process;
        try
        {
            await WaitUntilReadyAsync(process, logged, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            await KillCoreAsync(CancellationToken.None).ConfigureAwait(false);
            throw;
        }
    }

    private async Task WaitUntilReadyAsync(EtcdProcess process, long logged, CancellationToken cancellationToken)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        limit.CancelAfter(_options.StartTimeout);
        var problem = "it was not asked yet";
        try
        {
            while (true)
            {
                // Dispose kills a process that is still starting, but one may have been started after that.
                ObjectDisposedException.ThrowIf(_disposed, this);
                if (process.HasExited) throw Ended(process, logged);
                if (await FindProblemAsync(limit.Token).ConfigureAwait(false) is not { } found) return;
                problem = found;
                await Task.Delay(ProbeInterval, limit.Token).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new EtcdServerException(
                $"etcd {Version} ({Name}) at {Endpoint} did not become ready within {_options.StartTimeout.TotalSeconds:0.#} s: "
                + $"{problem}. The end of its log:{Environment.NewLine}{_log.Tail(logged)}", exception);
        }
    }

    /// <summary>
    /// What keeps the server from being ready, or null. The metrics listener tells whether there is a leader; the gateway,
    /// which etcd serves by calling itself, tells whether the client endpoint answers gRPC, with TLS and authentication.
    /// </summary>
    private async Task<string?> FindProblemAsync(CancellationToken cancellationToken)
    {
        try
        {
            var health = await _gateway.GetAsync(new Uri(MetricsEndpoint, "/health"), cancellationToken).ConfigureAwait(false);
            if (JsonNode.Parse(health)?["health"]?.ToString() != "true") return $"its health is {health.Trim()}";
            await GetRoleAsync(cancellationToken).ConfigureAwait(false);
            if (_authentication is not null)
            {
                await _authentication.EnsureAsync(_gateway, cancellationToken).ConfigureAwait(false);
                await GetRevisionAsync(cancellationToken).ConfigureAwait(false);
            }

            return null;
        }
        catch (Exception exception) when (exception is EtcdServerException or TimeoutException or JsonException)
        {
            return exception.Message;
        }
    }

    private EtcdServerException Ended(EtcdProcess process, long logged)
    {
        var log = _log.Tail(logged);
        return new EtcdServerException(
            $"etcd {Version} ({Name}) at {Endpoint} ended with exit code {process.ExitCode} while starting. The end of its log:"
            + Environment.NewLine + log)
        {
            AddressInUse = log.Contains("address already in use", StringComparison.Ordinal),
        };
    }
}
