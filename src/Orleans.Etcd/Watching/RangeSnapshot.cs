using System.Collections.Immutable;
using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>A key range at one revision. Immutable; the values are not to be modified.</summary>
/// <param name="Revision">Every change in the range up to and including this revision is in it.</param>
/// <param name="Epoch">Rises when etcd was restored from a backup or replaced, so that revisions start over.</param>
/// <param name="ClusterId">The etcd cluster that it is of.</param>
/// <param name="Values">The keys that exist.</param>
internal sealed record RangeSnapshot(long Revision, int Epoch, ulong ClusterId, ImmutableDictionary<ByteString, KeyValue> Values);
