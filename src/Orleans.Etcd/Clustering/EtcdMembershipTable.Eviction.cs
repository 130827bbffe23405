namespace Orleans.Etcd;

internal sealed partial class EtcdMembershipTable
{
    /// <summary>
    /// Declares a silo dead, on the row as it is now, with the vote of the one who found it so, unless it has its liveness key
    /// at the moment at which etcd does it. Unlike a kill that Orleans queues, it is either done when this returns or never: a
    /// silo that comes back later is not killed for what was true before.
    /// </summary>
    /// <exception cref="EtcdException">etcd failed. With <see cref="EtcdException.OutcomeUnknown"/> it may have been done, or be done yet.</exception>
    public async Task<Eviction> TryDeclareDeadAsync(SiloAddress silo, SiloAddress voter, CancellationToken cancellationToken) =>
        await TryDeclareDeadAsync(silo, voter, await ReadRowAsync(silo, cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);

    /// <summary>The same, where the row is as it was read.</summary>
    public async Task<Eviction> TryDeclareDeadAsync(SiloAddress silo, SiloAddress voter, MembershipTableData read, CancellationToken cancellationToken)
    {
        if (read.TryGet(silo) is not { } row || row.Item1.Status == SiloStatus.Dead)
            return Eviction.Unneeded;
        var entry = row.Item1;
        entry.Status = SiloStatus.Dead;
        entry.AddSuspector(voter, _etcd.Time.GetUtcNow().UtcDateTime);
        var isGone = Txn.CreateRevisionIs(Layout.LivenessKey(silo), 0);
        return await WriteRowAsync(entry, ParseETag(row.Item2)!.Value, read.Version.Next(), cancellationToken, isGone).ConfigureAwait(false) switch
        {
            WriteResult.Written => Eviction.Done,
            WriteResult.Unfit => Eviction.HasKey,
            _ => Eviction.Overtaken,
        };
    }
}

/// <summary>What became of declaring a silo dead.</summary>
internal enum Eviction
{
    /// <summary>It was this call that did it.</summary>
    Done,

    /// <summary>It was dead already, or is not in the table.</summary>
    Unneeded,

    /// <summary>Another silo wrote first.</summary>
    Overtaken,

    /// <summary>The silo has its key.</summary>
    HasKey,
}
