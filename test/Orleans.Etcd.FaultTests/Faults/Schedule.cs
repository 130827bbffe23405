using System.Globalization;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>A fault, when it begins and how long it lasts.</summary>
internal sealed record ScheduledFault(TimeSpan At, TimeSpan Lasts, Fault Fault)
{
    public override string ToString() => string.Create(CultureInfo.InvariantCulture, $"{At.TotalSeconds:0.0} s: {Fault} for {Lasts.TotalSeconds:0.0} s");
}

/// <summary>How many faults there are at a time.</summary>
internal enum ScheduleKind
{
    /// <summary>None: what fails here is wrong without any help.</summary>
    Control,

    /// <summary>One member fails, and comes back only after everything must long work again without it.</summary>
    Member,

    /// <summary>One at a time, each healed before the next.</summary>
    One,

    /// <summary>Two at once.</summary>
    Two,

    /// <summary>Any number, begun and healed at random times.</summary>
    Random,

    /// <summary>Two of three members are gone for a minute.</summary>
    Quorum,
}

/// <summary>The faults of a run. The same seed gives the same ones.</summary>
internal sealed record Schedule(ScheduleKind Kind, IReadOnlyList<ScheduledFault> Faults, TimeSpan Length)
{
    /// <summary>The silo whose clock can jump: what makes it so is not free, and the others do without.</summary>
    public const int SiloWithAClock = 0;

    private const int Members = 3;

    // Orleans 10.4.2 itself activates no grain for as long as a clock is behind what it once was by more than its CollectionAge, 15 min:
    // of two runs one may set it ahead and the next one back.
    private const int MinutesOfAJump = 7;

    /// <summary>How many of the faults have to be made for a run to be one of its kind.</summary>
    public int LeastFaults => Kind is ScheduleKind.Member or ScheduleKind.Quorum ? Faults.Count : (Faults.Count + 1) / 2;

    /// <summary>Whether a silo's process is killed or stands still, so that others have to wait for what it held.</summary>
    public bool AttacksSilos => Faults.Any(fault => fault.Fault is KillSilo or FreezeSilo);

    public static Schedule Of(ScheduleKind kind, int seed, int silos, TimeSpan length)
    {
        var random = new Random(seed);
        var faults = kind switch
        {
            ScheduleKind.Control => [],
            ScheduleKind.Member => [new(TimeSpan.FromSeconds(0.5), length - TimeSpan.FromSeconds(0.5), DrawMemberFailure(random))],
            ScheduleKind.Quorum => QuorumLoss(random),
            ScheduleKind.One => InTurn(random, silos, length, 1),
            ScheduleKind.Two => InTurn(random, silos, length, 2),
            _ => AtRandom(random, silos, length),
        };
        return new(kind, AttackingOneSilo(faults.OrderBy(fault => fault.At)), length);
    }

    /// <summary>
    /// Of silos one at most is attacked, so that it is known for how long the others may have to wait for what it held.
    /// </summary>
    private static List<ScheduledFault> AttackingOneSilo(IEnumerable<ScheduledFault> faults)
    {
        var attacked = false;
        return [.. faults.Select(fault =>
        {
            var attacks = fault.Fault is KillSilo or FreezeSilo;
            var spared = attacks && attacked;
            attacked |= attacks;
            return spared ? fault with { Fault = new MoveLeader(0) } : fault;
        })];
    }

    /// <summary>Two of three, by the same means, at the same time.</summary>
    private static List<ScheduledFault> QuorumLoss(Random random)
    {
        var (left, means) = (random.Next(Members), random.Next(3));
        return
        [
            .. Enumerable.Range(0, Members).Where(member => member != left).Select(member => new ScheduledFault(TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(60), means switch
            {
                0 => new Kill(member),
                1 => new Freeze(member),
                _ => new CutFromPeers(member),
            })),
        ];
    }

    /// <summary>Some at a time, and a breath in between.</summary>
    private static List<ScheduledFault> InTurn(Random random, int silos, TimeSpan length, int atOnce)
    {
        var faults = new List<ScheduledFault>();
        for (var at = TimeSpan.FromSeconds(0.5); at < length - TimeSpan.FromSeconds(1);)
        {
            var lasts = Between(random, 0.5, 3.5);
            for (var i = 0; i < atOnce; i++)
                faults.Add(new(at + Between(random, 0, i * 0.5), lasts, Draw(random, silos)));
            at += lasts + Between(random, 0.5, 1.5);
        }

        return faults;
    }

    private static List<ScheduledFault> AtRandom(Random random, int silos, TimeSpan length)
    {
        var count = random.Next(3, 8);
        return [.. Enumerable.Range(0, count).Select(_ => new ScheduledFault(Between(random, 0, length.TotalSeconds - 1), Between(random, 0.2, 6), Draw(random, silos)))];
    }

    private static Fault DrawMemberFailure(Random random)
    {
        var member = random.Next(2) == 0 ? Fault.Leader : random.Next(Members);
        return random.Next(5) switch
        {
            0 or 1 => new Kill(member),
            2 => new Freeze(member),
            3 => new CutFromPeers(member),
            _ => new CutFromClients(member),
        };
    }

    private static Fault Draw(Random random, int silos)
    {
        var member = random.Next(3) == 0 ? Fault.Leader : random.Next(Members);
        Fault fault = random.Next(15) switch
        {
            0 or 1 => new Kill(member),
            2 or 3 => new Freeze(member),
            4 => new CutFromPeers(member),
            5 => new CutFromPeers(member, OneWay: true),
            6 => new CutFromClients(member),
            7 => new LosePackets(member, random.Next(5, 40)),
            8 => new SlowFsync(member, TimeSpan.FromMilliseconds(random.Next(20, 400))),
            9 => new Compact(),
            10 => new Defragment(member),
            11 => new MoveLeader(random.Next(Members)),
            12 => new Restart(member),
            13 => new RevokeLease(random.Next()),
            _ => random.Next(3) switch
            {
                0 => new ClockJump(SiloWithAClock, TimeSpan.FromMinutes(random.Next(2) == 0 ? MinutesOfAJump : -MinutesOfAJump)),
                1 => new KillSilo(random.Next(silos)),
                _ => new FreezeSilo(random.Next(silos)),
            },
        };
        // What cannot be made here becomes something that can, so that the rest of the schedule is the same everywhere.
        return fault.CanBeMade() ? fault : new Kill(member);
    }

    private static TimeSpan Between(Random random, double least, double most) => TimeSpan.FromSeconds(least + (random.NextDouble() * (most - least)));
}
