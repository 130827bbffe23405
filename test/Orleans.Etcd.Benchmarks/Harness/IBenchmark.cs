namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// What <c>./run-benchmarks NAME</c> runs. A class that implements it, with a constructor without parameters, is found
/// by itself.
/// </summary>
internal interface IBenchmark
{
    string Name { get; }

    /// <summary>One line for the list of benchmarks.</summary>
    string Summary { get; }

    /// <summary>Starts what it needs, measures into the report and leaves nothing behind.</summary>
    Task RunAsync(Contest contest, CancellationToken cancellationToken);
}
