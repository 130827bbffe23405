using Orleans.Etcd.Testing;
using Xunit;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>Alone, because other tests find their etcd through the environment variable that these ones change.</summary>
[CollectionDefinition(nameof(EtcdBinaryTests), DisableParallelization = true)]
public sealed class EtcdBinaryCollection;

[Collection(nameof(EtcdBinaryTests))]
public sealed class EtcdBinaryTests : IDisposable
{
    private readonly string? _variable = Environment.GetEnvironmentVariable("ETCD_BIN");

    public void Dispose() => Environment.SetEnvironmentVariable("ETCD_BIN", _variable);

    [Fact]
    public void Find_Variable_MayBeTheBinaryOrItsDirectory()
    {
        var binary = EtcdBinary.Find();
        Environment.SetEnvironmentVariable("ETCD_BIN", binary);
        Assert.Equal(binary, EtcdBinary.Find());
        Environment.SetEnvironmentVariable("ETCD_BIN", Path.GetDirectoryName(binary));
        Assert.Equal(binary, EtcdBinary.Find());
    }

    [Fact]
    public void Find_VariablePointsNowhere_SaysSoAndHowToGetIt()
    {
        Environment.SetEnvironmentVariable("ETCD_BIN", "/nowhere/etcd");
        var exception = Assert.Throws<FileNotFoundException>(() => EtcdBinary.Find());
        Assert.Contains("/nowhere/etcd", exception.Message);
        AssertSaysHowToGetIt(exception);
    }

    [Fact]
    public void Find_VersionThatIsNotThere_SaysHowToGetIt()
    {
        var exception = Assert.Throws<FileNotFoundException>(() => EtcdBinary.Find("0.1"));
        Assert.StartsWith("etcd 0.1 was not found", exception.Message);
        AssertSaysHowToGetIt(exception);
    }

    [Fact]
    public async Task Find_OwnVersion_FindsThatVersion()
    {
        await using var any = await EtcdServer.StartAsync(new() { AutoStart = false });
        var version = string.Join('.', any.Version.Split('.')[..2]);
        await using var found = await EtcdServer.StartAsync(new() { AutoStart = false, BinaryPath = EtcdBinary.Find(version) });
        Assert.StartsWith(version + ".", found.Version);
    }

    [Fact]
    public async Task BinaryPath_Missing_SaysHowToGetIt()
    {
        var options = new EtcdServerOptions { BinaryPath = "/nowhere/etcd" };
        AssertSaysHowToGetIt(await Assert.ThrowsAsync<FileNotFoundException>(() => EtcdServer.StartAsync(options)));
    }

    [Fact]
    public async Task BinaryPath_IsNotEtcd_Throws()
    {
        var options = new EtcdServerOptions { BinaryPath = "/bin/echo" };
        var exception = await Assert.ThrowsAsync<EtcdServerException>(() => EtcdServer.StartAsync(options));
        Assert.Contains("/bin/echo", exception.Message);
    }

    private static void AssertSaysHowToGetIt(FileNotFoundException exception)
    {
        Assert.Contains("etcd-server package", exception.Message);
        Assert.Contains("build/get-etcd", exception.Message);
        Assert.Contains("ETCD_BIN", exception.Message);
        Assert.DoesNotContain(Environment.NewLine, exception.Message);
    }
}
