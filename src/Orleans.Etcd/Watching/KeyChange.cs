using Google.Protobuf;
using Mvccpb;

namespace Orleans.Etcd;

/// <summary>One key's change. <see cref="Current"/> is null for a deletion, <see cref="Previous"/> for a new key.</summary>
internal sealed record KeyChange(ByteString Key, KeyValue? Previous, KeyValue? Current);

/// <summary>All changes of one revision; or, when <see cref="IsResync"/>, of all revisions since the last batch, compared.</summary>
/// <param name="Changes">In etcd's order; deletions included.</param>
/// <param name="Snapshot">The range after these changes.</param>
/// <param name="IsResync">The state was read anew: at start, after compaction, after a restore.</param>
internal sealed record RevisionBatch(IReadOnlyList<KeyChange> Changes, RangeSnapshot Snapshot, bool IsResync);
