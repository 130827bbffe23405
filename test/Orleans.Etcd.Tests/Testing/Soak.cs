namespace Orleans.Etcd.Tests.Testing;

/// <summary>How much of something a test does: little in each run, more of it under <c>./run-tests --soak</c>.</summary>
internal static class Soak
{
    private static readonly bool IsOn = Environment.GetEnvironmentVariable("ORLEANS_ETCD_TEST_SEQUENCES") is not null;

    public static int Or(int brief, int @long) => IsOn ? @long : brief;
}
