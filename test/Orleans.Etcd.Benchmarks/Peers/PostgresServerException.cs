namespace Orleans.Etcd.Benchmarks;

/// <summary>PostgreSQL cannot be started here.</summary>
internal sealed class PostgresServerException(string message) : Exception(message);
