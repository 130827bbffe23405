namespace Orleans.Etcd.Testing;

/// <summary>The log file that etcd's output goes to: a file, because nobody has to keep reading it.</summary>
internal sealed class ServerLog(string path)
{
    private const int TailLength = 4_000;

    public string Path { get; } = path;

    public long Length => File.Exists(Path) ? new FileInfo(Path).Length : 0;

    /// <summary>What was written since a position, at most the last few thousand characters of it.</summary>
    public string Tail(long from)
    {
        try
        {
            using var stream = new FileStream(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
            stream.Position = Math.Min(stream.Length, Math.Max(from, stream.Length - TailLength));
            using var reader = new StreamReader(stream);
            if (stream.Position > from) reader.ReadLine();
            return reader.ReadToEnd().Trim();
        }
        catch (IOException)
        {
            return "";
        }
    }
}
