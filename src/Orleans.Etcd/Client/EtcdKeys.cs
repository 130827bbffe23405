using System.Buffers;
using System.Globalization;
using System.Text;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>
/// Every key that this package writes. Variable segments are escaped and ranges end in a slash, so that cluster
/// <c>prod</c> never sees <c>prod-eu</c>, nor <c>a</c> sees <c>a/b</c>.
/// </summary>
internal static class EtcdKeys
{
    /// <summary>Longest service or cluster id, in characters; far below etcd's limit of 1.5 MiB for a whole request.</summary>
    public const int MaxSegmentLength = 1024;

    /// <summary>Beside the clusters of a service, and so no names of theirs.</summary>
    public static readonly IReadOnlySet<string> ServiceRooms = new HashSet<string>(StringComparer.Ordinal) { "locks", "semaphores", "rwlocks", "sessions", "leases", "config", "config-history" };

    // C0 controls and DEL would upset terminals and tools; they are two hexadecimal digits each.
    private static readonly SearchValues<char> Escaped = SearchValues.Create([.. Enumerable.Range(0, ' ').Select(code => (char)code), '/', '%', '\x7f']);

    private static readonly UTF8Encoding StrictUtf8 = new(encoderShouldEmitUTF8Identifier: false, throwOnInvalidBytes: true);

    public static string Cluster(string prefix, string serviceId, string clusterId)
    {
        if (ServiceRooms.Contains(clusterId))
            throw new ArgumentException($"clusterId is '{clusterId}', where the service keeps its {clusterId}; choose another.", nameof(clusterId));
        return $"{prefix}/{Escape(serviceId, nameof(serviceId))}/{Escape(clusterId, nameof(clusterId))}/";
    }

    public static string Membership(string cluster) => cluster + "membership/";

    public static string Version(string cluster) => cluster + "membership/version";

    public static string Silos(string cluster) => cluster + "membership/silos/";

    public static string Alive(string cluster) => cluster + "alive/";

    public static string Liveness(string cluster) => cluster + "liveness/";

    /// <summary>What holds the queue of one lock, semaphore or reader-writer lock.</summary>
    /// <param name="prefix">The root of all keys.</param>
    /// <param name="serviceId">Locks belong to the service and not to one of its clusters.</param>
    /// <param name="room"><c>locks</c>, <c>semaphores</c> or <c>rwlocks</c>.</param>
    /// <param name="name">The lock's name, as the user gave it.</param>
    public static string Lock(string prefix, string serviceId, string room, string name) =>
        $"{prefix}/{Escape(serviceId, nameof(serviceId))}/{room}/{Escape(name, nameof(name))}/";

    /// <summary>What holds the state of one process's session, on its lease.</summary>
    public static string Session(string prefix, string serviceId, long leaseId) =>
        $"{prefix}/{Escape(serviceId, nameof(serviceId))}/sessions/{LeaseId(leaseId)}/";

    /// <summary>What hangs on the lease of whoever holds a resource of Orleans' lease provider.</summary>
    public static string Lease(string prefix, string serviceId, string category, string resource) =>
        $"{prefix}/{Escape(serviceId, nameof(serviceId))}/leases/{Escape(category, nameof(category))}/{Escape(resource, nameof(resource))}";

    /// <summary>What holds the values of all namespaces, unless it is set otherwise.</summary>
    public static string Config(string prefix, string serviceId) => $"{prefix}/{Escape(serviceId, nameof(serviceId))}/config/";

    /// <summary>What holds the commits of all namespaces.</summary>
    public static string ConfigHistory(string prefix, string serviceId) => $"{prefix}/{Escape(serviceId, nameof(serviceId))}/config-history/";

    /// <summary>The highest token that <see cref="FencedWrite"/> has seen for something.</summary>
    public static string Fence(string prefix, string name) => $"{prefix}/fences/{Escape(name, nameof(name))}";

    /// <summary>A lease as Go writes it.</summary>
    public static string LeaseId(long leaseId) => leaseId.ToString("x", CultureInfo.InvariantCulture);

    /// <summary>A silo as a segment: <c>ip:port@generation</c>. The sign before an IPv6 scope is escaped like any other.</summary>
    public static string Silo(SiloAddress silo) => Escape(silo.ToParsableString(), nameof(silo));

    /// <summary>The end of the range of all keys that begin with <paramref name="prefix"/>, which ends in a slash.</summary>
    public static ByteString RangeEnd(string prefix) => ByteString.CopyFromUtf8(prefix[..^1] + (char)('/' + 1));

    public static string Escape(string segment, string argument)
    {
        ArgumentException.ThrowIfNullOrEmpty(segment, argument);
        if (segment.Length > MaxSegmentLength)
            throw new ArgumentException($"{argument} has {segment.Length} characters; at most {MaxSegmentLength} fit in an etcd key.", argument);
        if (!IsUtf8(segment))
            throw new ArgumentException($"{argument} is not valid Unicode.", argument);
        if (!segment.AsSpan().ContainsAny(Escaped))
            return segment;

        var escaped = new StringBuilder(segment.Length + 16);
        foreach (var c in segment)
        {
            if (Escaped.Contains(c))
                escaped.Append('%').Append(((int)c).ToString("X2", CultureInfo.InvariantCulture));
            else
                escaped.Append(c);
        }

        return escaped.ToString();
    }

    public static bool IsUtf8(string text)
    {
        try
        {
            StrictUtf8.GetByteCount(text);
            return true;
        }
        catch (EncoderFallbackException)
        {
            return false;
        }
    }
}
