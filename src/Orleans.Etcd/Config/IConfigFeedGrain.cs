using System.Collections.Immutable;

namespace Orleans.Etcd;

/// <summary>
/// How subscriptions are fed, by the same grain as <see cref="IConfigGrain"/>: they ask for what comes next. Nobody who does
/// not ask costs or delays anything, and a caller whose silo dies knows at once.
/// </summary>
[Alias("Orleans.Etcd.IConfigFeedGrain")]
internal interface IConfigFeedGrain : IGrainWithStringKey
{
    [Alias("Next")]
    Task<ConfigPage> Next(ConfigQuery query);
}

/// <summary>Up to where somebody has been told.</summary>
/// <param name="Stream">Which sequence of revisions; each activation's view of each etcd has its own.</param>
/// <param name="ClusterId">Of which etcd.</param>
/// <param name="Revision">Up to which of them.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigCursor")]
internal readonly record struct ConfigCursor([property: Id(0)] Guid Stream, [property: Id(1)] ulong ClusterId, [property: Id(2)] long Revision);

/// <summary>Asks for what comes after something.</summary>
/// <param name="After">Default: the beginning.</param>
/// <param name="Scope">What of it.</param>
/// <param name="Wait">For how long to wait for something; at most 10 s.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigQuery")]
internal sealed record ConfigQuery([property: Id(0)] ConfigCursor After, [property: Id(1)] ConfigScope Scope, [property: Id(2)] TimeSpan Wait);

/// <summary>What came after it.</summary>
/// <param name="Notifications">In order; empty where nothing came in time.</param>
/// <param name="Next">What to ask with next time.</param>
[GenerateSerializer, Immutable]
[Alias("Orleans.Etcd.ConfigPage")]
internal sealed record ConfigPage([property: Id(0)] ImmutableArray<ConfigNotification> Notifications, [property: Id(1)] ConfigCursor Next);
