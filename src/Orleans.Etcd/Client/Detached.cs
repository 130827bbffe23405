using System.Runtime.CompilerServices;

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

    /// <summary>As <see cref="Run"/>, but begins at once, on this thread, until it first waits.</summary>
    public static void Start(Func<Task> work)
    {
        if (ExecutionContext.IsFlowSuppressed())
        {
            _ = work();
            return;
        }

        using (ExecutionContext.SuppressFlow())
            _ = work();
    }

    /// <summary>Leaves the caller's scheduler, such as a grain's; nothing where there is none to leave.</summary>
    public static ConfiguredTaskAwaitable OffScheduler() => Task.CompletedTask.ConfigureAwait(
        TaskScheduler.Current == TaskScheduler.Default && SynchronizationContext.Current is null ? ConfigureAwaitOptions.None : ConfigureAwaitOptions.ForceYielding);

    /// <summary>A timer, not yet running, that does not keep the caller's execution context for as long as it lives.</summary>
    public static ITimer CreateTimer(TimeProvider time, TimerCallback callback, object state)
    {
        if (ExecutionContext.IsFlowSuppressed())
            return time.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        using (ExecutionContext.SuppressFlow())
            return time.CreateTimer(callback, state, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A task that may be given up before it ends: its failure is nobody's news then.</summary>
    public static TTask Observed<TTask>(TTask task)
        where TTask : Task
    {
        _ = task.ContinueWith(
            static ended => _ = ended.Exception,
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted | TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default);
        return task;
    }
}
