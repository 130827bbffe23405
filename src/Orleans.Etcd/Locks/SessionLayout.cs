using System.Globalization;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>
/// The keys of one session, all on its lease: one that says by its deletion that the lease is gone, and one for each lock
/// that was taken away by force.
/// </summary>
internal sealed class SessionLayout
{
    private readonly string _forced;

    public SessionLayout(string keyPrefix, string serviceId, long leaseId)
    {
        Prefix = EtcdKeys.Session(keyPrefix, serviceId, leaseId);
        _forced = Prefix + "forced/";
        StateKey = ByteString.CopyFromUtf8(Prefix + "state");
    }

    public string Prefix { get; }

    public ByteString StateKey { get; }

    public ByteString ForcedKey(long token, string entry) => ByteString.CopyFromUtf8(_forced + Forced(token, entry));

    /// <summary>
    /// A hold, as it is named where it was taken away by force. Of locks that were acquired in one transaction the token is the same. The entry is not
    /// last, as it is in the keys of locks, which these are not to be taken for.
    /// </summary>
    public static string Forced(long token, string entry) => string.Create(CultureInfo.InvariantCulture, $"{entry}/{token}");

    /// <summary>What was taken away by force.</summary>
    public IEnumerable<string> Forced(RangeSnapshot snapshot)
    {
        foreach (var key in snapshot.Values.Keys)
        {
            var text = key.ToStringUtf8();
            if (text.StartsWith(_forced, StringComparison.Ordinal))
                yield return text[_forced.Length..];
        }
    }
}
