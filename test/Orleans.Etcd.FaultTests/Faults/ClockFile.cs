using System.Globalization;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>What libfaketime reads a process's wall clock from. The monotonic clock is left alone, as when an operator sets the time.</summary>
internal sealed class ClockFile : IDisposable
{
    private const string Library = "libfaketimeMT.so.1";
    private readonly string _path = Path.Combine(Path.GetTempPath(), $"orleans-etcd-clock-{Environment.ProcessId}-{Guid.NewGuid():N}");

    public ClockFile()
    {
        Sweep();
        Set(TimeSpan.Zero);
    }

    public static bool IsAvailable => FaultTools.Find(Library) is not null;

    /// <summary>What a process has to be started with.</summary>
    public IEnumerable<KeyValuePair<string, string>> Variables =>
    [
        new("LD_PRELOAD", FaultTools.Find(Library)!),
        new("FAKETIME_TIMESTAMP_FILE", _path),
        new("FAKETIME_CACHE_DURATION", "1"),
        new("DONT_FAKE_MONOTONIC", "1"),
        // It would take waits by the monotonic clock for others, which end at once: the runtime would spin.
        new("FAKETIME_FORCE_MONOTONIC_FIX", "0"),
    ];

    public void Set(TimeSpan ahead)
    {
        // Renamed into place: a process that reads it half written would be at another time.
        File.WriteAllText(_path + ".next", ahead.TotalSeconds.ToString("+0;-0;+0", CultureInfo.InvariantCulture) + "\n");
        File.Move(_path + ".next", _path, overwrite: true);
    }

    /// <summary>What the library keeps in shared memory for a process, and does not remove where that is killed.</summary>
    public static void RemoveLeftovers(int process)
    {
        File.Delete($"/dev/shm/faketime_shm_{process}");
        File.Delete($"/dev/shm/sem.faketime_sem_{process}");
    }

    /// <summary>Removes what test runs and silos left that were killed.</summary>
    private static void Sweep()
    {
        foreach (var file in Directory.GetFiles(Path.GetTempPath(), "orleans-etcd-clock-*").Where(file => IsOfTheDead(Path.GetFileName(file).Split('-')[3])))
            File.Delete(file);
        foreach (var process in Directory.GetFiles("/dev/shm", "faketime_shm_*").Select(file => file.Split('_')[^1]).Where(IsOfTheDead))
            RemoveLeftovers(int.Parse(process, CultureInfo.InvariantCulture));
    }

    private static bool IsOfTheDead(string process) => int.TryParse(process, CultureInfo.InvariantCulture, out _) && !Directory.Exists($"/proc/{process}");

    public void Dispose() => File.Delete(_path);
}
