using Xunit;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>
/// An outage leaves nothing on the console and no failure that nobody has observed. Both belong to a whole process, so
/// that this one has its own: in that of the tests, what hosts of other tests left behind would be counted too.
/// </summary>
public sealed class QuietnessTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task WatchAndLease_StallsAndBreaks_WriteNothingAndLeaveNoUnobservedFailure()
    {
        using var user = StartupHook.StartUseThroughFaults(shared.Server.Endpoint);
        try
        {
            var (written, errors) = (user.StandardOutput.ReadToEndAsync(), user.StandardError.ReadToEndAsync());
            await user.WaitForExitAsync().WaitAsync(TimeSpan.FromMinutes(1));
            Assert.Equal("", await written + await errors);
            Assert.Equal(0, user.ExitCode);
        }
        finally
        {
            if (!user.HasExited)
                user.Kill();
        }
    }
}

/// <summary>What <see cref="QuietnessTests"/> has done in a process of its own.</summary>
internal static class Quietness
{
    public static async Task UseThroughFaultsAsync(Uri server)
    {
        TaskScheduler.UnobservedTaskException += (_, e) => Console.Error.WriteLine($"Unobserved: {e.Exception}");
        await UseAsync(server);
        for (var i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }

    private static async Task UseAsync(Uri server)
    {
        const string prefix = "quiet/";
        await using var proxy = TcpProxy.Start(server);
        await using var direct = Connections.Connect(server);
        await using var etcd = new EtcdConnection(new() { Endpoints = [proxy.Endpoint.ToString()], WatchProgressInterval = TimeSpan.FromMilliseconds(200) });
        await using var lease = await etcd.Leases.GrantAsync(TimeSpan.FromSeconds(3), CancellationToken.None);
        await using var log = new WatchedLog(etcd, prefix);
        await log.WaitForStartAsync();
        var reference = new ReferenceLog(direct, prefix, Random.Shared.Next());
        var accepted = proxy.Accepted;
        proxy.StallAnswers();
        // Longer than three silent periods of the watch, and than the lease waits for an answer.
        await Task.Delay(2_000);
        await reference.WriteAsync(10);
        proxy.Reset();
        await Task.Delay(500);
        proxy.Pass();
        await log.AssertEqualsAsync(reference);
        Assert.True(proxy.Accepted > accepted);
    }
}
