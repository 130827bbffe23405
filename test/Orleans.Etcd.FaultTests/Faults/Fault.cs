namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>One fault as a value: what is done to whom. What it needs to be undone is answered by <see cref="InjectAsync"/>.</summary>
internal abstract record Fault
{
    /// <summary>Stands for the member that leads when the fault begins.</summary>
    public const int Leader = -1;

    /// <summary>Whether etcd may take away a lease that is being renewed, as it does after a leader stood still for longer than the TTL.</summary>
    public virtual bool MayRevokeLiveLeases(TimeSpan lasts) => false;

    /// <summary>Whether it is done to a silo, and not to etcd.</summary>
    public virtual bool IsOfSilo => false;

    /// <summary>Whether this machine can do it.</summary>
    public virtual bool CanBeMade() => true;

    /// <summary>Begins it; the caller ends it by disposing of what is answered.</summary>
    public abstract Task<IAsyncDisposable> InjectAsync(IFaultTarget target);

    /// <summary>Whether etcd may answer late or not at all because of it.</summary>
    public virtual bool DisturbsEtcd => !IsOfSilo;

    /// <summary>What there is to be ended where a fault is over when it was made.</summary>
    public static IAsyncDisposable Nothing { get; } = new Undo(() => Task.CompletedTask);
}

/// <summary>A fault of one member.</summary>
internal abstract record MemberFault(int Member) : Fault
{
    public sealed override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        var member = Member == Leader ? await target.GetLeaderAsync() : Member;
        // Nothing can be done to a process while it is debugged: that fault is over.
        await SlowFsync.LetGoAsync(target.Etcd.Members[member]);
        target.Note($"{this}: {target.Etcd.Members[member].Name}");
        return await InjectAsync(target, member);
    }

    protected abstract Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member);
}

internal sealed record Kill(int Member) : MemberFault(Member)
{
    protected override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        if (!target.Etcd.Members[member].IsRunning)
            throw new InvalidOperationException("It is down already.");
        await target.Etcd.Members[member].KillAsync();
        return new Undo(() => target.StartMemberAsync(member));
    }
}

/// <summary>Ends in good order and is started again at once.</summary>
internal sealed record Restart(int Member) : MemberFault(Member)
{
    protected override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        await target.Etcd.Members[member].StopAsync();
        await target.StartMemberAsync(member);
        return Nothing;
    }
}

internal sealed record Freeze(int Member) : MemberFault(Member)
{
    public override bool MayRevokeLiveLeases(TimeSpan lasts) => lasts > LongestHarmless;

    /// <summary>The shortest TTL that a workload uses, less what a leader may be late already.</summary>
    public static readonly TimeSpan LongestHarmless = TimeSpan.FromSeconds(2);

    protected override Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        target.Etcd.Members[member].Pause();
        return Task.FromResult<IAsyncDisposable>(new Undo(() =>
        {
            if (target.Etcd.Members[member].IsRunning)
                target.Etcd.Members[member].Resume();
            return Task.CompletedTask;
        }));
    }
}

internal sealed record CutFromPeers(int Member, bool OneWay = false) : MemberFault(Member)
{
    protected override Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member) => target.Network.CutFromPeersAsync(member, OneWay);
}

internal sealed record CutFromClients(int Member) : MemberFault(Member)
{
    protected override Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member) => target.Network.CutFromClientsAsync(member);
}

internal sealed record LosePackets(int Member, int Percent) : MemberFault(Member)
{
    protected override Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member) => target.Network.LosePacketsAsync(member, Percent);
}

internal sealed record Defragment(int Member) : MemberFault(Member)
{
    protected override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target, int member)
    {
        await target.Etcd.Members[member].DefragmentAsync();
        return Nothing;
    }
}

internal sealed record Compact : Fault
{
    public override bool DisturbsEtcd => false;

    public override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        await target.CompactAsync();
        return Nothing;
    }
}

/// <summary>The leader hands its leadership over, in good order.</summary>
internal sealed record MoveLeader(int To) : Fault
{
    public override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        var leader = await target.GetLeaderAsync();
        var next = To == leader ? (To + 1) % target.Etcd.Members.Count : To;
        target.Note($"{this}: from {target.Etcd.Members[leader].Name} to {target.Etcd.Members[next].Name}");
        await target.Etcd.Members[leader].MoveLeaderAsync(target.Etcd.Members[next]);
        return Nothing;
    }
}

/// <summary>A lease that somebody holds and renews is revoked by a third party.</summary>
internal sealed record RevokeLease(int Which) : Fault
{
    public override bool MayRevokeLiveLeases(TimeSpan lasts) => true;

    public override bool DisturbsEtcd => false;

    public override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        await target.RevokeLeaseAsync(Which);
        return Nothing;
    }
}

/// <summary>The wall clock of a silo jumps; what measures durations does not.</summary>
internal sealed record ClockJump(int Silo, TimeSpan By) : Fault
{
    public override bool IsOfSilo => true;

    public override bool CanBeMade() => ClockFile.IsAvailable;

    public override Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        var clock = target.ClockOf(Silo);
        clock.Set(By);
        return Task.FromResult<IAsyncDisposable>(new Undo(() =>
        {
            clock.Set(TimeSpan.Zero);
            return Task.CompletedTask;
        }));
    }
}

/// <summary>A silo's process is killed; another is started in its place.</summary>
internal sealed record KillSilo(int Silo) : Fault
{
    public override bool IsOfSilo => true;

    public override async Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        await target.KillSiloAsync(Silo);
        return new Undo(() => target.ReplaceSiloAsync(Silo));
    }
}

/// <summary>A silo's process stands still: the others may take it for dead, and once they did it ends.</summary>
internal sealed record FreezeSilo(int Silo) : Fault
{
    public override bool IsOfSilo => true;

    public override Task<IAsyncDisposable> InjectAsync(IFaultTarget target)
    {
        target.FreezeSilo(Silo);
        return Task.FromResult<IAsyncDisposable>(new Undo(() =>
        {
            target.ThawSilo(Silo);
            return Task.CompletedTask;
        }));
    }
}
