using Xunit;

namespace Orleans.Etcd.Tests.Testing;

/// <summary>Waits for a condition that nothing announces.</summary>
internal static class Eventually
{
    public static Task IsTrueAsync(Func<bool> condition, string because) => IsTrueAsync(() => Task.FromResult(condition()), because);

    public static async Task IsTrueAsync(Func<Task<bool>> condition, string because)
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        while (!await condition())
        {
            if (limit.IsCancellationRequested) Assert.Fail($"Not true within 20 s: {because}");
            await Task.Delay(20);
        }
    }
}
