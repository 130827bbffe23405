namespace Orleans.Etcd;

/// <summary>Pauses between attempts that grow.</summary>
internal static class Backoff
{
    /// <summary>Twice the pause, up to the longest.</summary>
    public static TimeSpan Longer(TimeSpan pause, TimeSpan longest) => pause * 2 < longest ? pause * 2 : longest;

    /// <summary>Half of the pause to the whole, so that many who failed together do not come back together.</summary>
    public static TimeSpan Jittered(TimeSpan pause) => pause * (0.5 + (Random.Shared.NextDouble() / 2));
}
