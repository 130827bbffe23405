using Orleans.Etcd.Testing;

namespace Orleans.Etcd.Benchmarks;

/// <summary>Where things that are not kept in git go, wherever the program is called from.</summary>
internal static class Repository
{
    public static string Artifacts { get; } = Path.Combine(Root(), "artifacts");

    public static string Docs { get; } = Path.Combine(Root(), "docs");

    private static string Root()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "Orleans.Etcd.sln")))
                return directory.FullName;
        }

        return Directory.GetCurrentDirectory();
    }

    /// <summary>Where servers keep their data: in the repository and not in the temporary directory, which may be memory.</summary>
    public static string Data() => Directory.CreateDirectory(Path.Combine(Artifacts, "benchmark-data")).FullName;

    /// <summary>ETCD_BIN decides; else 3.5, which the published figures are of, before whatever the machine has.</summary>
    public static string Etcd()
    {
        if (Environment.GetEnvironmentVariable("ETCD_BIN") is { Length: > 0 })
            return EtcdBinary.Find();
        try
        {
            return EtcdBinary.Find("3.5");
        }
        catch (FileNotFoundException)
        {
            return EtcdBinary.Find();
        }
    }
}
