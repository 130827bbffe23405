using Npgsql;

namespace Orleans.Etcd.Benchmarks;

/// <summary>
/// Orleans' scripts for its membership in PostgreSQL. They are in its source and not in its package: <c>ORLEANS_SQL_DIR</c>
/// names a folder that has them somewhere below, such as <c>src/AdoNet</c> of a checkout of the release that is measured.
/// </summary>
internal static class OrleansSql
{
    public const string Invariant = "Npgsql";

    // What later releases have in the second script was a migration before.
    private const string Migrated = "CleanupDefunctSiloEntriesKey";

    public static string? Folder => Environment.GetEnvironmentVariable("ORLEANS_SQL_DIR") is { Length: > 0 } path ? path : null;

    public static async Task RunAsync(NpgsqlDataSource server, string folder, CancellationToken cancellationToken)
    {
        var clustering = await ReadAsync(folder, "PostgreSQL-Clustering.sql", cancellationToken);
        List<string> scripts = [await ReadAsync(folder, "PostgreSQL-Main.sql", cancellationToken), clustering];
        if (!clustering.Contains(Migrated, StringComparison.Ordinal))
            scripts.Add(await ReadAsync(folder, "PostgreSQL-Clustering-3.7.0.sql", cancellationToken));
        await using var connection = await server.OpenConnectionAsync(cancellationToken);
        foreach (var script in scripts)
            await RunAsync(connection, script, cancellationToken);
    }

    private static Task<string> ReadAsync(string folder, string name, CancellationToken cancellationToken)
    {
        var path = Directory.Exists(folder) ? Directory.EnumerateFiles(folder, name, SearchOption.AllDirectories).FirstOrDefault() : null;
        return path is null
            ? throw new PostgresServerException($"there is no {name} below {folder}, which ORLEANS_SQL_DIR names.")
            : File.ReadAllTextAsync(path, cancellationToken);
    }

    private static async Task RunAsync(NpgsqlConnection connection, string script, CancellationToken cancellationToken)
    {
        try
        {
            await using var command = new NpgsqlCommand(script, connection);
            await command.ExecuteNonQueryAsync(cancellationToken);
        }
        catch (PostgresException exception)
        {
            throw new PostgresServerException($"a script of Orleans' failed: {exception.MessageText}");
        }
    }
}
