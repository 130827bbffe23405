using System.Globalization;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>What the kernel says about a process.</summary>
internal static class OperatingSystemProcess
{
    /// <summary>False for a zombie: it runs nothing, and only waits to be reaped.</summary>
    public static bool Exists(int id)
    {
        try
        {
            var stat = File.ReadAllText(string.Create(CultureInfo.InvariantCulture, $"/proc/{id}/stat"));
            return stat[stat.LastIndexOf(')') + 2] is not ('Z' or 'X');
        }
        catch (IOException)
        {
            return false;
        }
    }
}
