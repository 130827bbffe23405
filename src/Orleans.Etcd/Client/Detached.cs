namespace Orleans.Etcd;

/// <summary>Starts a loop that belongs to its object and not to whoever happened to be the first caller.</summary>
internal static class Detached
{
    /// <summary>Runs on the thread pool without the caller's execution context (request context, activity, culture).</summary>
    public static Task Run(Func<Task> loop)
    {
        if (ExecutionContext.IsFlowSuppressed())
            return Task.Run(loop);
        using (ExecutionContext.SuppressFlow())
            return Task.Run(loop);
    }
}
