using System.Security.Cryptography;
using System.Text.Json;
using Microsoft.Extensions.Logging;

namespace Orleans.Etcd;

/// <summary>Configuration as it was last known, in a file: whole or not there, and with a checksum.</summary>
internal sealed partial class LastKnownGood(string path, ILogger logger)
{
    private volatile bool _cannotKeep;

    /// <summary>Keeps the data. That it cannot be kept is no reason not to go on, and is said once, until it can.</summary>
    public void Write(IDictionary<string, string?> data)
    {
        var temporary = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            var sorted = new SortedDictionary<string, string?>(data, StringComparer.Ordinal);
            var kept = new KeptConfiguration { At = DateTimeOffset.UtcNow, Sha256 = Sum(sorted), Data = sorted };
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            // It may hold secrets.
            if (!OperatingSystem.IsWindows())
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            using (var stream = new FileStream(temporary, options))
            {
                JsonSerializer.Serialize(stream, kept, ConfigJson.Default.KeptConfiguration);
                stream.Flush(flushToDisk: true);
            }

            File.Move(temporary, path, overwrite: true);
            _cannotKeep = false;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            if (!_cannotKeep)
                Log.NotKept(logger, exception, path);
            _cannotKeep = true;
            TryDelete(temporary);
        }
    }

    /// <summary>What was kept, and when; null where there is nothing, or nothing that is whole.</summary>
    public (IDictionary<string, string?> Data, DateTimeOffset At)? Read()
    {
        try
        {
            if (!File.Exists(path))
                return null;
            using var stream = File.OpenRead(path);
            if (JsonSerializer.Deserialize(stream, ConfigJson.Default.KeptConfiguration) is not { Data: { } data } kept || kept.Sha256 != Sum(data))
                throw new InvalidDataException("The checksum is another.");
            return (new Dictionary<string, string?>(data, StringComparer.OrdinalIgnoreCase), kept.At);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or JsonException or ArgumentException or InvalidDataException)
        {
            // Of JSON only the kind: its message may quote what is kept.
            Log.Unusable(logger, path, exception.GetType().Name);
            return null;
        }
    }

    private static void TryDelete(string temporary)
    {
        try
        {
            File.Delete(temporary);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // As it could not be written.
        }
    }

    // Sorted here: what is read comes in another order.
    private static string Sum(SortedDictionary<string, string?> data) => Convert.ToHexString(SHA256.HashData(
        JsonSerializer.SerializeToUtf8Bytes(new SortedDictionary<string, string?>(data, StringComparer.Ordinal)!, ConfigJson.Default.SortedDictionaryStringString)));

    private static partial class Log
    {
        [LoggerMessage(135, LogLevel.Warning, "Configuration could not be kept in {Path}")]
        public static partial void NotKept(ILogger logger, Exception exception, string path);

        [LoggerMessage(136, LogLevel.Error, "Configuration in {Path} is damaged or cannot be read ({Reason}), and is not used")]
        public static partial void Unusable(ILogger logger, string path, string reason);
    }
}

/// <summary>The file.</summary>
internal sealed class KeptConfiguration
{
    public DateTimeOffset At { get; set; }

    /// <summary>Of the data as JSON, sorted by key.</summary>
    public string Sha256 { get; set; } = "";

    public SortedDictionary<string, string?> Data { get; set; } = new(StringComparer.Ordinal);
}
