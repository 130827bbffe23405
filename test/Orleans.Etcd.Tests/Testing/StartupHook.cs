using System.Diagnostics;
using Orleans.Etcd.Testing;
using Orleans.Etcd.Tests.Watching;

/// <summary>
/// What tests do in a process of their own: the runtime calls this, by its name and before Main, in a process started
/// with DOTNET_STARTUP_HOOKS set to this assembly.
/// </summary>
internal static class StartupHook
{
    private const string RoleVariable = "ORLEANS_ETCD_TEST_ROLE";
    private const string ArgumentVariable = "ORLEANS_ETCD_TEST_ARGUMENT";

    public static void Initialize()
    {
        var argument = Environment.GetEnvironmentVariable(ArgumentVariable)!;
        switch (Environment.GetEnvironmentVariable(RoleVariable))
        {
            case nameof(OwnEtcd):
                OwnEtcd(argument);
                break;
            case nameof(UseEtcdThroughFaults):
                UseEtcdThroughFaults(argument);
                break;
        }
    }

    public static Process StartOwner(string directory) => Start(nameof(OwnEtcd), directory);

    public static Process StartUseThroughFaults(Uri etcd) => Start(nameof(UseEtcdThroughFaults), etcd.ToString());

    /// <summary>Starts etcd and waits to be killed.</summary>
    private static void OwnEtcd(string directory)
    {
        var etcd = EtcdServer.StartAsync(new() { DataDirectory = directory }).GetAwaiter().GetResult();
        Console.WriteLine(etcd.ProcessId);
        Console.WriteLine(etcd.DataDirectory);
        Thread.Sleep(Timeout.Infinite);
    }

    private static void UseEtcdThroughFaults(string endpoint)
    {
        Quietness.UseThroughFaultsAsync(new Uri(endpoint)).GetAwaiter().GetResult();
        Environment.Exit(0);
    }

    private static Process Start(string role, string argument)
    {
        var assembly = typeof(StartupHook).Assembly.Location;
        return Process.Start(new ProcessStartInfo("dotnet", ["exec", assembly])
        {
            UseShellExecute = false,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            Environment = { ["DOTNET_STARTUP_HOOKS"] = assembly, [RoleVariable] = role, [ArgumentVariable] = argument },
        })!;
    }
}
