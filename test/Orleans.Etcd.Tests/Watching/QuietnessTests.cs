using Xunit;

namespace Orleans.Etcd.Tests.Watching;

/// <summary>What is looked at belongs to the whole process, so nothing else may run at the same time.</summary>
[CollectionDefinition(nameof(QuietnessTests), DisableParallelization = true)]
public sealed class QuietnessCollection;

/// <summary>An outage leaves nothing on the console and no failure that nobody has observed.</summary>
[Collection(nameof(QuietnessTests))]
public sealed class QuietnessTests(SharedEtcd35 shared) : IClassFixture<SharedEtcd35>
{
    [Fact]
    public async Task WatchAndLease_StallsAndBreaks_WriteNothingAndLeaveNoUnobservedFailure()
    {
        Collect();
        var console = Console.Out;
        await using var written = new StringWriter();
        var unobserved = new List<Exception>();
        void Note(object? sender, UnobservedTaskExceptionEventArgs e)
        {
            lock (unobserved)
                unobserved.AddRange(e.Exception.InnerExceptions);
        }

        TaskScheduler.UnobservedTaskException += Note;
        Console.SetOut(written);
        try
        {
            await UseThroughFaultsAsync();
            Collect();
        }
        finally
        {
            Console.SetOut(console);
            TaskScheduler.UnobservedTaskException -= Note;
        }

        lock (unobserved)
            Assert.Empty(unobserved);
        Assert.Equal("", written.ToString());
    }

    private async Task UseThroughFaultsAsync()
    {
        var prefix = shared.NewPrefix();
        await using var proxy = TcpProxy.Start(shared.Server.Endpoint);
        await using var direct = shared.Server.Connect();
        await using var etcd = shared.Server.Connect(options => options.WatchProgressInterval = TimeSpan.FromMilliseconds(200), proxy.Endpoint);
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

    private static void Collect()
    {
        for (var i = 0; i < 3; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }
    }
}
