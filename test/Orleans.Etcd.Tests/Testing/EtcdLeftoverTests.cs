using System.Globalization;
using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Testing;

public sealed class EtcdLeftoverTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("etcd-leftover-").FullName;

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task DisposeAsync_RunningOrPaused_LeavesNoProcessAndNoFile(bool paused)
    {
        var etcd = await EtcdServer.StartAsync(new() { DataDirectory = _root, Tls = EtcdTls.ServerTls });
        var process = etcd.ProcessId;
        if (paused) etcd.Pause();
        await etcd.DisposeAsync();
        await etcd.DisposeAsync();
        AssertNothingIsLeft(process);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => etcd.RestartAsync());
    }

    [Fact]
    public async Task DisposeAsync_Cluster_LeavesNoProcessAndNoFile()
    {
        var etcd = await EtcdCluster.StartAsync(new() { DataDirectory = _root });
        var processes = etcd.Members.Select(member => member.ProcessId).ToArray();
        etcd.Members[1].Pause();
        await etcd.DisposeAsync();
        AssertNothingIsLeft(processes);
    }

    [Fact]
    public async Task StartAsync_Cancelled_LeavesNoFile()
    {
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(30));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(
            () => EtcdCluster.StartAsync(new() { DataDirectory = _root }, cancellationToken: cancelled.Token));
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task StartAsync_TimedOut_LeavesNoFileAndSaysWhy()
    {
        var options = new EtcdServerOptions { DataDirectory = _root, StartTimeout = TimeSpan.FromMilliseconds(500) };
        // A second member that does not exist: there is never a quorum.
        options.ExtraArguments.Add("--initial-cluster=member1=http://127.0.0.1:9,other=http://127.0.0.1:10");
        options.ExtraArguments.Add("--initial-advertise-peer-urls=http://127.0.0.1:9");
        var exception = await Assert.ThrowsAsync<EtcdServerException>(() => EtcdServer.StartAsync(options));
        Assert.Contains("0.5 s", exception.Message);
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task DisposeAsync_WhileRestarting_EndsTheRestart()
    {
        var etcd = await EtcdServer.StartAsync(new() { DataDirectory = _root });
        await etcd.StopAsync();
        var restart = etcd.RestartAsync();
        await etcd.DisposeAsync();
        await Assert.ThrowsAnyAsync<Exception>(() => restart);
        AssertNothingIsLeft();
    }

    [Fact]
    public async Task Owner_Killed_LeavesNoProcessAndTheNextStartRemovesItsFiles()
    {
        using var owner = StartupHook.StartOwner(_root);
        int process;
        string directory;
        try
        {
            process = int.Parse((await owner.StandardOutput.ReadLineAsync())!, CultureInfo.InvariantCulture);
            directory = (await owner.StandardOutput.ReadLineAsync())!;
            Assert.True(OperatingSystemProcess.Exists(process));
            Assert.True(Directory.Exists(directory));
        }
        finally
        {
            owner.Kill();
            await owner.WaitForExitAsync();
        }

        await Eventually.IsTrueAsync(() => !OperatingSystemProcess.Exists(process), "etcd died with its owner");
        Assert.True(Directory.Exists(directory));

        await using var etcd = await EtcdServer.StartAsync(new() { DataDirectory = _root });
        Assert.False(Directory.Exists(directory));
        Assert.True(Directory.Exists(etcd.DataDirectory));
    }

    private void AssertNothingIsLeft(params int[] processes)
    {
        Assert.All(processes, process => Assert.False(OperatingSystemProcess.Exists(process)));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root));
    }
}
