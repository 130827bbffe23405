namespace Orleans.Etcd.Benchmarks;

/// <summary>That an operation did what its name says: what was refused costs less.</summary>
internal static class Require
{
    /// <exception cref="InvalidOperationException">It did not.</exception>
    public static void That(bool isDone, string what)
    {
        if (!isDone)
            throw new InvalidOperationException($"This was refused, which nothing should have kept from being done: {what}.");
    }
}
