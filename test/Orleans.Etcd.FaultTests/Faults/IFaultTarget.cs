using Orleans.Etcd.Testing;

namespace Orleans.Etcd.FaultTests.Faults;

/// <summary>What faults are made in.</summary>
internal interface IFaultTarget
{
    EtcdCluster Etcd { get; }

    IMemberNetwork Network { get; }

    /// <summary>The index of the member that leads.</summary>
    Task<int> GetLeaderAsync();

    /// <summary>Starts a member that was ended, without waiting until it has peers.</summary>
    Task StartMemberAsync(int member);

    /// <summary>Forgets all history that the recorders have seen.</summary>
    Task CompactAsync();

    /// <summary>Revokes one of the leases that exist.</summary>
    Task RevokeLeaseAsync(int which);

    ClockFile ClockOf(int silo);

    Task KillSiloAsync(int silo);

    Task ReplaceSiloAsync(int silo);

    void FreezeSilo(int silo);

    void ThawSilo(int silo);

    /// <summary>Adds to what the report says was done.</summary>
    void Note(string what);
}
