using System.Collections.Concurrent;
using Google.Protobuf;

namespace Orleans.Etcd;

/// <summary>Counts values that could not be parsed, and reports each key once: it may be read every minute for weeks.</summary>
internal sealed class UnreadableValues(Action<string> report)
{
    // Whoever writes garbage under ever new keys gets no more log lines than this.
    private const int MaxReported = 100;

    private readonly ConcurrentDictionary<ByteString, byte> _reported = new();

    public void Note(ByteString key)
    {
        EtcdMeter.UnreadableValues.Add(1);
        if (_reported.Count < MaxReported && _reported.TryAdd(key, 0))
            report(key.ToStringUtf8());
    }
}
