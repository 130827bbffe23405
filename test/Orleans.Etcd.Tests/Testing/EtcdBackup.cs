using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>A copy of a server's data, and its return: etcd remains the same cluster, and what it wrote in between is lost.</summary>
internal static class EtcdBackup
{
    /// <summary>Stops the server, copies its data and starts it again.</summary>
    public static async Task BackUpAsync(this EtcdServer server)
    {
        await server.StopAsync();
        Copy(Data(server), Backup(server));
        await server.RestartAsync();
    }

    /// <summary>Stops the server, puts back what was copied and starts it again.</summary>
    public static async Task RestoreAsync(this EtcdServer server)
    {
        await server.StopAsync();
        Directory.Delete(Data(server), recursive: true);
        Copy(Backup(server), Data(server));
        await server.RestartAsync();
    }

    private static string Data(EtcdServer server) => Path.Combine(server.DataDirectory, "data");

    private static string Backup(EtcdServer server) => Path.Combine(server.DataDirectory, "backup");

    private static void Copy(string from, string to)
    {
        foreach (var directory in Directory.EnumerateDirectories(from, "*", SearchOption.AllDirectories).Prepend(from))
            Directory.CreateDirectory(Path.Combine(to, Path.GetRelativePath(from, directory)));
        foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
            File.Copy(file, Path.Combine(to, Path.GetRelativePath(from, file)));
    }
}
