using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>Who holds a lock at one revision of etcd, and how many wait for it.</summary>
/// <param name="Holders">First come first; empty when it is free. More than one for semaphores and readers only.</param>
/// <param name="Waiters">How many wait.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockStatus")]
public sealed record LockStatus([property: Id(0)] ImmutableArray<LockHolder> Holders, [property: Id(1)] int Waiters);

/// <summary>One holder of a lock.</summary>
/// <param name="Owner">Its own description; null where it gave none, as Go programs and <c>etcdctl</c> do not.</param>
/// <param name="Since">Since when it holds it, or had waited for it for no more than 10 s, by the clock of the silo that was asked; null for others' programs.</param>
/// <param name="Token">Its fencing token.</param>
/// <param name="Remaining">How long its lease lives unless it is renewed, as etcd says it, in whole seconds; null where it has none.</param>
/// <param name="Session">Its lease; 0 where it has none.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.LockHolder")]
public sealed record LockHolder(
    [property: Id(0)] string? Owner,
    [property: Id(1)] DateTimeOffset? Since,
    [property: Id(2)] long Token,
    [property: Id(3)] TimeSpan? Remaining,
    [property: Id(4)] long Session);
