namespace Orleans.Etcd.Testing;

/// <summary>Creates the members of a cluster, of one or more, in one directory, and starts them together.</summary>
internal static class EtcdLauncher
{
    private const int MaxAttempts = 5;

    /// <summary>
    /// Ports are free when chosen, but somebody else may take one before etcd does. As nobody knows them yet at the first
    /// start, others are tried then; later they are what clients hold on to.
    /// </summary>
    public static async Task<(EtcdServer[] Members, ServerDirectory Directory)> StartAsync(
        EtcdServerOptions? options, Func<EtcdMember[]> plan, CancellationToken cancellationToken)
    {
        if (OperatingSystem.IsWindows())
            throw new PlatformNotSupportedException("Orleans.Etcd.Testing controls etcd with Unix signals: it needs Linux or macOS.");
        options = options?.Snapshot() ?? new EtcdServerOptions();
        options.Validate();
        var binary = options.BinaryPath ?? EtcdBinary.Find();
        if (!File.Exists(binary)) throw EtcdBinary.Missing($"{nameof(EtcdServerOptions.BinaryPath)} is '{binary}', which does not exist");

        for (var attempt = 1; ; attempt++)
        {
            var directory = ServerDirectory.Create(options.DataDirectory);
            EtcdServer[] members = [];
            try
            {
                members = Create(options, plan(), Path.GetFullPath(binary), directory);
                if (options.AutoStart)
                    await StartTogetherAsync(members, cancellationToken).ConfigureAwait(false);
                return (members, directory);
            }
            catch (Exception exception)
            {
                foreach (var member in members)
                    await member.DisposeAsync().ConfigureAwait(false);
                directory.Delete();
                if (exception is not EtcdServerException { AddressInUse: true } || attempt == MaxAttempts) throw;
            }
        }
    }

    /// <summary>Members become ready only once a quorum runs: none is awaited before all are started.</summary>
    public static async Task StartTogetherAsync(IEnumerable<EtcdServer> members, CancellationToken cancellationToken)
    {
        using var others = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        var starts = members.Select(member => StartAsync(member, others)).ToArray();
        try
        {
            await Task.WhenAll(starts).ConfigureAwait(false);
        }
        catch when (!cancellationToken.IsCancellationRequested && starts.FirstOrDefault(start => start.IsFaulted) is { } failed)
        {
            await failed.ConfigureAwait(false);
            throw;
        }
    }

    private static async Task StartAsync(EtcdServer member, CancellationTokenSource others)
    {
        try
        {
            await member.StartOnceAsync(others.Token).ConfigureAwait(false);
        }
        catch
        {
            await others.CancelAsync().ConfigureAwait(false);
            throw;
        }
    }

    private static EtcdServer[] Create(EtcdServerOptions options, EtcdMember[] plan, string binary, ServerDirectory directory)
    {
        var certificates = options.Tls == EtcdTls.None
            ? null
            : options.Certificates ?? EtcdCertificates.Create(Path.Combine(directory.Path, "certificates"));
        var authentication = options.UserName is null ? null : new EtcdAuthentication(options.UserName, options.Password!);
        return [.. plan.Select(member => new EtcdServer(
            options, member, binary, directory, plan.Length == 1, certificates, authentication))];
    }
}
