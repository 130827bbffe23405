namespace Orleans.Etcd.Benchmarks;

/// <summary>Where things that are not kept in git go, wherever the program is called from.</summary>
internal static class Repository
{
    public static string Artifacts { get; } = Path.Combine(Root(), "artifacts");

    private static string Root()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "Orleans.Etcd.sln")))
                return directory.FullName;
        }

        return Directory.GetCurrentDirectory();
    }
}
