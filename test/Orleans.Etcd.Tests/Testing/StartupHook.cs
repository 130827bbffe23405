using Orleans.Etcd.Testing;

/// <summary>
/// What the child process of <c>EtcdLeftoverTests</c> does: the runtime calls this, by its name and before Main, in a
/// process started with DOTNET_STARTUP_HOOKS set to this assembly. It starts etcd and waits to be killed.
/// </summary>
internal static class StartupHook
{
    public const string RootVariable = "ETCD_LEFTOVER_ROOT";

    public static void Initialize()
    {
        var options = new EtcdServerOptions { DataDirectory = Environment.GetEnvironmentVariable(RootVariable) };
        var etcd = EtcdServer.StartAsync(options).GetAwaiter().GetResult();
        Console.WriteLine(etcd.ProcessId);
        Console.WriteLine(etcd.DataDirectory);
        Thread.Sleep(Timeout.Infinite);
    }
}
